package main

import (
	"context"
	"fmt"
	"syscall"
)

// descriptorSpare is what the tool itself needs beside the connections.
const descriptorSpare = 64

// idle measures the resident memory that a connection takes which has asked one PING and then stays silent.
type idle struct{ count int }

func (c idle) run(ctx context.Context, l *lab) (outcome, error) {
	got := series{metric: resident, unit: bytesEach}
	count := max(1, c.count/l.scale.divisor)
	if err := allowDescriptors(count + descriptorSpare); err != nil {
		return outcome{}, err
	}
	for round := range l.rounds {
		for _, s := range turn(round) {
			grown, err := c.measure(ctx, l, s, count)
			if err != nil {
				return outcome{}, err
			}
			got.samples[s] = append(got.samples[s], float64(grown)/float64(count))
		}
	}
	return outcome{series: []series{got}}, nil
}

func (c idle) measure(ctx context.Context, l *lab, s side, count int) (int64, error) {
	srv, err := l.start(ctx, s)
	if err != nil {
		return 0, err
	}
	defer srv.stop()
	empty, err := srv.residentBytes()
	if err != nil {
		return 0, err
	}
	ping := appendCommand(nil, "PING")
	clients := make([]*plainConn, 0, count)
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	for range count {
		c, err := dial(srv.addr)
		if err != nil {
			return 0, fmt.Errorf("%s: connection %d: %w", srv.name, len(clients)+1, err)
		}
		clients = append(clients, c)
		if err := c.exchange(ping, 1); err != nil {
			return 0, fmt.Errorf("%s: PING on connection %d: %w", srv.name, len(clients), err)
		}
	}
	if err := wait(ctx, l.scale.settle); err != nil {
		return 0, err
	}
	full, err := srv.residentBytes()
	return full - empty, err
}

// allowDescriptors raises this process's soft limit where it is too low. The servers see to their own.
func allowDescriptors(count int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= uint64(count) {
		return nil
	}
	limit.Cur = uint64(count)
	if limit.Cur > limit.Max {
		return fmt.Errorf("%d open files are needed, the limit is %d (ulimit -Hn)", count, limit.Max)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
