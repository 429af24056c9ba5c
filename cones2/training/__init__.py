"""Learning a subject's residual embedding from a few photos (Cones 2, section 3.1).

Independent of the host: models are seen as the callables of `model.TrainingModel`.
"""
