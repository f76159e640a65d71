package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals are SIGTERM and SIGINT as contexts, whose causes name the signal.
type stopSignals struct {
	first  context.Context // done once the program is told to stop
	second context.Context // done once it is told to stop at once
}

// watchSignals is called once by a program. The signals are never given back to the system: a late one must not cut short what is
// tidied up on the way out.
func watchSignals() stopSignals {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	first, tell := context.WithCancelCause(context.Background())
	second, hurry := context.WithCancelCause(context.Background())
	go func() {
		tell(errors.New((<-signals).String()))
		hurry(errors.New((<-signals).String()))
	}()
	return stopSignals{first, second}
}
