//go:build !unix

package loadtest

import "time"

func processorTime() time.Duration { return 0 }
