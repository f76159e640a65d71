//go:build !linux

package server

import "log/slog"

// newDriver makes the driver of this system.
func newDriver(_ int, ls *listeners, accept acceptor, keepAliveSeconds func() int, log *slog.Logger) (driver, error) {
	return newGoroutineDriver(ls, accept, keepAliveSeconds, log), nil
}
