"""Speech by its formants: sound from parameters, parameters from sound."""
