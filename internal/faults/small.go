package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neargrid/neargrid/cluster"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// partsSmall is for grids of two nodes.
const partsSmall = 16

const (
	// stillMax is how long a probe of a partition that must not be served is tried: longer than a node looks for who serves it.
	stillMax = 8 * time.Second
	setKeys  = 200
)

// keys are some that were written, and their value.
type keys struct {
	grid  *grid
	name  string
	value string
}

// set writes all keys anew through a node.
func (k *keys) set(n *node, value string) error {
	c := k.client(n)
	defer c.close()
	k.value = value
	var insist insistence
	for i := range setKeys {
		key := k.name + strconv.Itoa(i)
		if err := insist.on(func() answer { return c.do(key, "SET", key, value) }); err != nil {
			return fmt.Errorf("write %s through %s: %w", key, n.Name, err)
		}
	}
	return nil
}

// check reads them through a node.
func (k *keys) check(n *node) error {
	c := k.client(n)
	defer c.close()
	var insist insistence
	for i := range setKeys {
		key := k.name + strconv.Itoa(i)
		var a answer
		if err := insist.on(func() answer { a = c.do(key, "GET", key); return a }); err != nil {
			return fmt.Errorf("read %s through %s: %w", key, n.Name, err)
		}
		if a.value.Text != k.value {
			return fmt.Errorf("%s at %s is %q, and %q was acknowledged", key, n.Name, a.value.Text, k.value)
		}
	}
	return nil
}

// client is one that stays at a node.
func (k *keys) client(n *node) *client {
	c := k.grid.client(gridDoor, nil, 0)
	c.stay = n.Door
	return c
}

// stopped tells whether a node serves nothing of some partitions, neither reads nor writes, and says so in an error that clients retry
// on, or else that a write's outcome is unknown.
func (g *grid) stopped(n *node, partitions []int, parts int) error {
	errs := make(chan error, 2*len(partitions))
	for _, p := range partitions {
		key := keyIn(p, parts)
		for _, words := range [][]string{{"GET", key}, {"SET", key, "stopped"}} {
			go func() {
				c := g.client(gridDoor, nil, 0)
				defer c.close()
				c.stay = n.Door
				errs <- isStopped(c, key, words)
			}()
		}
	}
	var all []error
	for range 2 * len(partitions) {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func isStopped(c *client, key string, words []string) error {
	began := time.Now()
	a := c.do(key, words...)
	took := time.Since(began)
	_, known := allowed[a.trouble]
	switch {
	case a.outcome == done:
		return fmt.Errorf("%s was executed, %q", words, a.value.Text)
	case !known || a.trouble == "INDETERMINATE" && words[0] == "GET":
		return fmt.Errorf("%s: %s %s", words, a.trouble, a.detail)
	case took > stillMax:
		return fmt.Errorf("%s took %v", words, took)
	}
	return nil
}

// twoNodes shows what DESIGN promises of two: losing the one that does not vote costs nothing; losing the voter stops partitions until
// it is back. What was acknowledged stays.
func twoNodes(ctx context.Context, l *lab, f *findings) error {
	g, err := l.startGrid(ctx, 2, "--partitions", strconv.Itoa(partsSmall))
	if err != nil {
		return err
	}
	defer g.Close()
	voter, other := g.Running()[0], g.Running()[1]
	k := &keys{grid: g, name: "two:"}
	if err := k.set(voter, "one"); err != nil {
		return err
	}
	s, err := other.Status()
	if err != nil {
		return err
	}
	if roleIn(s, voter.ID()) != leader || testgrid.Voters(s) != 1 {
		return fmt.Errorf("%s does not vote alone: %+v", voter.Name, s.Members)
	}
	other.Kill()
	err = errors.Join(k.check(voter), k.set(voter, "two"), k.check(voter))
	f.promise("two nodes: losing the one that does not vote costs nothing", err)
	if err := errors.Join(other.Start(ctx), g.Whole(ctx)); err != nil {
		return err
	}
	f.promise("two nodes: it comes back, and the promise is kept again", errors.Join(k.check(other), k.set(other, "three")))

	at, err := g.stakesOf(voter)
	if err != nil {
		return err
	}
	voter.Kill()
	f.promise("two nodes: losing the voter stops the partitions that it led", g.stopped(other, at.led, at.parts))
	f.promise("two nodes: and the writes to those that it backed", g.writesStopped(other, at.backed, at.parts))
	err = errors.Join(voter.Start(ctx), g.Whole(ctx), k.check(other), k.check(voter), k.set(other, "four"), k.check(voter))
	f.promise("two nodes: until it is back, with nothing lost", err)
	return nil
}

// writesStopped is stopped for writes alone.
func (g *grid) writesStopped(n *node, partitions []int, parts int) error {
	errs := make(chan error, len(partitions))
	for _, p := range partitions {
		go func() {
			c := g.client(gridDoor, nil, 0)
			defer c.close()
			c.stay = n.Door
			key := keyIn(p, parts)
			errs <- isStopped(c, key, []string{"SET", key, "stopped"})
		}()
	}
	var all []error
	for range partitions {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// twoAndWitness shows that with a witness the loss of any one costs nothing, and what the loss of all copies means.
func twoAndWitness(ctx context.Context, l *lab, f *findings) error {
	g, err := l.startGrid(ctx, 2, "--partitions", strconv.Itoa(partsSmall))
	if err != nil {
		return err
	}
	defer g.Close()
	witness, err := g.Add(ctx, "--role", "witness")
	if err == nil {
		err = errors.Join(g.Whole(ctx), g.Voting(ctx))
	}
	if err != nil {
		return err
	}
	a, b := g.Running()[0], g.Running()[1]
	k := &keys{grid: g, name: "witness:"}
	if err := k.set(a, "0"); err != nil {
		return err
	}
	for i, n := range []*node{witness, b, a} {
		left := a
		if n == a {
			left = b
		}
		n.Kill()
		err := errors.Join(k.check(left), k.set(left, strconv.Itoa(i+1)), k.check(left))
		f.promise(fmt.Sprintf("two nodes and a witness: losing %s costs nothing", []string{"the witness", "a node", "the other node"}[i]), err)
		if err := errors.Join(n.Start(ctx), g.Whole(ctx)); err != nil {
			return err
		}
		if err := errors.Join(k.check(a), k.check(b)); err != nil {
			return err
		}
	}
	return g.loseAll(ctx, f, a, b)
}

// loseAll kills both nodes, one after the other, so that no copy is left, and starts one again.
func (g *grid) loseAll(ctx context.Context, f *findings, a, b *node) error {
	b.Kill()
	err := a.Until(ctx, testgrid.WholeMax, "one node has everything", func(s cluster.Status) bool { return s.Partitions.BelowCopies == partsSmall })
	if err != nil {
		return err
	}
	a.Kill()
	if err := b.Start(ctx); err != nil {
		return err
	}
	err = b.Until(ctx, testgrid.WholeMax, "all is lost", func(s cluster.Status) bool { return s.Partitions.Lost == partsSmall })
	if err == nil {
		err = g.stopped(b, everyPartition(partsSmall), partsSmall)
	}
	f.promise("the last copy: what is lost answers an error, never empty", err)
	starts, err := lostStarts(b)
	if err != nil {
		return err
	}
	_, err = b.Ask(append([]string{"GRID.RECOVER", "accept-loss", fmt.Sprintf("0-%d", partsSmall-1)}, starts...)...)
	k := &keys{grid: g, name: "recovered:"}
	err = errors.Join(err, k.set(b, "1"), k.check(b), isEmpty(b, "witness:0"))
	f.promise("the last copy: a person gives it up, and it begins anew, empty", err)
	return errors.Join(a.Start(ctx), g.Whole(ctx), k.check(a))
}

func everyPartition(parts int) (all []int) {
	for p := range parts {
		all = append(all, p)
	}
	return all
}

// lostStarts are the starts of nodes that had lost partitions last.
func lostStarts(n *node) (starts []string, err error) {
	v, err := n.Ask("GRID.RECOVER", "lost")
	for _, piece := range strings.Split(v.Text, `"start":"`)[min(1, len(v.Text)):] {
		start, _, _ := strings.Cut(piece, `"`)
		starts = append(starts, start)
	}
	if err == nil && len(starts) == 0 {
		err = fmt.Errorf("nobody is said to have had what is lost: %s", v.Text)
	}
	return slices.Compact(starts), err
}

func isEmpty(n *node, key string) error {
	v, err := n.Ask("GET", key)
	if err == nil && !v.IsNull() {
		err = fmt.Errorf("%s is %q, and was given up", key, v.Text)
	}
	return err
}
