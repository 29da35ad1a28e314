"""``python -m tests.simulators.tradovate --port 8080 --control-port 8081``"""

from tests.simulators.tradovate.server.main import main

main()
