"""Operations that tell about the index as a whole: counts of tags, the quality of searches, its state."""
