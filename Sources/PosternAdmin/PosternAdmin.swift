import Hummingbird
import HummingbirdTLS
import Metrics
import Mustache
