"""Makes every secret of the stack on its first start, and gives each service its own. One shot, safe to run again."""
