package main

import (
	"context"

	"github.com/neargrid/neargrid/internal/testgrid"
)

const partsUsual = 64 // of a grid that is tried; a probe for each is possible

// grid is a grid of a lab.
type grid struct {
	*testgrid.Grid
	lab *lab
}

type node = testgrid.Node

// newGrid makes a grid without nodes.
func (l *lab) newGrid(flags ...string) (*grid, error) {
	g, err := testgrid.New(l.program, l.dir, flags...)
	if err != nil {
		return nil, err
	}
	return &grid{g, l}, nil
}

// startGrid makes a grid of so many nodes that hold data, and waits until it is whole and as many vote as will.
func (l *lab) startGrid(ctx context.Context, nodes int, flags ...string) (*grid, error) {
	g, err := l.newGrid(flags...)
	if err != nil {
		return nil, err
	}
	return g, g.Start(ctx, nodes)
}

// startGridOn starts a grid of which each node has its place in a network.
func (l *lab) startGridOn(ctx context.Context, n *testgrid.Network, nodes int, flags ...string) (*grid, error) {
	g, err := l.newGrid(flags...)
	if err != nil {
		return nil, err
	}
	return g, g.StartOn(ctx, n, nodes)
}
