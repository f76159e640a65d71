package client

import (
	"context"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// goes: a program that ends while its loader runs, or is killed, holds nobody up.
func (l *loadTest) goes() {
	gone, b := l.connect(Options{}), l.connect(Options{})
	if _, err := gone.Do(l.ctx, "GRID.LOAD", "gone", "3600000"); err != nil {
		l.Fatal(err)
	}
	waits := make(chan loaded, 1)
	go func() {
		got, err := b.GetOrLoad(l.ctx, "gone", 0, func(context.Context) (string, error) { return "v", nil })
		waits <- loaded{got, err}
	}()
	l.waits(b, "gone")
	gone.Close()
	l.wantLoaded("of one that has gone", <-waits, "v")
}

// unseat takes from a node the key that is being loaded there. What was loaded before is not put in, and who waits gets on.
func (l *loadTest) unseat(n *testgrid.Node, remove func(n *testgrid.Node) error) {
	a, b := l.connect(Options{}), l.connect(Options{})
	parts, err := n.Table()
	if err != nil {
		l.Fatal(err)
	}
	s, key := newSource("old"), ""
	for p, part := range parts {
		if part.Primary == n.ID() {
			key = keyOf(p, len(parts), n.Number) // another one for each node: partitions move
		}
	}
	first := l.begin(l.ctx, a, key, s)
	<-s.begun
	second := l.begin(l.ctx, b, key, s)
	l.waits(b, key)
	s.value.Store("new")
	if err := remove(n); err != nil {
		l.Fatal(err)
	}
	l.wantLoaded("who has waited", <-second, "new")
	close(s.release)
	l.wantLoaded("who has loaded before", <-first, "new")
	l.wantGet(b, key, "new")
}
