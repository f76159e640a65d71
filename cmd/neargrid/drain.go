package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
)

var drainCommand = command{
	name:    "drain",
	summary: "moves everything off a node and lets it leave its grid",
	about: "neargrid drain has a node's data and vote moved to other nodes, and the node leave the grid once it has\n" +
		"nothing left: then it ends. It waits for that, and shows how far it is; Ctrl-C ends the waiting alone.\n" +
		"The command GRID.UNDRAIN takes a drain back.",
	flags: []flagSpec{
		addrFlag, passwordFlag,
		{name: "node", placeholder: "ID", help: "which node, by the beginning of its id; without it the one at --addr"},
		{name: "wait", value: "yes", help: "wait until the node has left; --wait=no: ask for it and return"},
		configFlag,
	},
	run: runDrain,
}

func runDrain(env environment, in inputs) error {
	a, err := newAsker(in)
	if err != nil {
		return err
	}
	wait, err := in.on("wait")
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	words := []string{"GRID.DRAIN"}
	if id := in.text("node"); id != "" {
		words = append(words, id)
	}
	s, err := a.status(ctx) // where else to ask, should the node be gone at once
	if err != nil {
		return err
	}
	id, err := a.ask(ctx, words...)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "node %s is to leave the grid\n", id)
	if !wait {
		return nil
	}
	return followDrain(ctx, env, a, core.NodeID(id), s)
}

const (
	drainLook    = 500 * time.Millisecond // between looks at how far a drain is
	drainSilence = 30 * time.Second       // without an answer of any node, to give up
)

// followDrain prints how far the drain of a node is until it has left. s is the last status.
func followDrain(ctx context.Context, env environment, a asker, id core.NodeID, s cluster.Status) error {
	last, answered := "", time.Now()
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	for {
		next, err := askAround(ctx, a, id, s)
		switch {
		case ctx.Err() != nil:
			return errors.New("the waiting was ended; the drain goes on")
		case err == nil:
			s, answered = next, time.Now()
		case isRefusal(err) || time.Since(answered) > drainSilence:
			return err
		}
		if err == nil {
			m, there := memberOf(s, id)
			if !there {
				fmt.Fprintf(env.stdout, "node %s has left the grid\n", id)
				return nil
			}
			if text := drainText(s, m); text != last {
				fmt.Fprintln(env.stdout, text)
				last = text
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// askAround asks a node for the status, and where it does not answer, others than the one that leaves.
func askAround(ctx context.Context, a asker, leaving core.NodeID, known cluster.Status) (cluster.Status, error) {
	s, err := a.status(ctx)
	if err == nil || isRefusal(err) {
		return s, err
	}
	for _, m := range known.Members {
		if m.ID == leaving || m.Client == "" || m.Client == a.addr {
			continue
		}
		if s, other := (asker{addr: m.Client, password: a.password}).status(ctx); other == nil {
			return s, nil
		}
	}
	return s, err
}

func memberOf(s cluster.Status, id core.NodeID) (m cluster.MemberState, ok bool) {
	i := slices.IndexFunc(s.Members, func(m cluster.MemberState) bool { return m.ID == id })
	if i < 0 {
		return m, false
	}
	return s.Members[i], true
}

func drainText(s cluster.Status, m cluster.MemberState) string {
	text := fmt.Sprintf("%d primaries and %d backups are left; moves: %s", m.Primary, m.Backup, movesText(s.Moves))
	others := slices.ContainsFunc(s.Members, func(o cluster.MemberState) bool {
		return o.ID != m.ID && o.Role == core.Data.String() && o.State == core.Alive.String()
	})
	if !others {
		text += "; no other node can take them: it leaves once one has joined"
	}
	return text
}
