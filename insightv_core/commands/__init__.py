"""The commands of `insightv`, one file a stage: arguments in, records through the stage, words and figures out."""
