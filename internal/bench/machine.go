package main

import (
	"context"
	"runtime"
	"strings"

	"github.com/neargrid/neargrid/internal/machine"
)

// versions answers the versions of both servers, the driver and the compiler.
func (l *lab) versions(ctx context.Context) string {
	node := l.programs[ours].name
	if node != standInName {
		node = "neargrid at commit " + machine.Commit(ctx)
	}
	return strings.Join([]string{node, machine.Output(ctx, "redis-server", "--version"), machine.Output(ctx, "redis-benchmark", "--version"), runtime.Version()}, "; ")
}
