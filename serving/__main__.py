"""`python -m serving`."""

from serving.cli import main
from serving.commands.completion import COMPLETE_VARIABLE

main(complete_var=COMPLETE_VARIABLE)
