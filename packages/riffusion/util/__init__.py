"""Names that scripts written for upstream Riffusion import; thin, the work is done elsewhere."""
