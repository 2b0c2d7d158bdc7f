"""What every graph of Lava processes needs: imports, supervision, commands."""
