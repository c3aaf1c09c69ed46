"""The farm's memory, and the only room that speaks SQL."""
