package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/neargrid/neargrid/cluster"
)

var statusCommand = command{
	name:    "status",
	summary: "shows a grid: members, partitions, moves, whether its promise is kept",
	about:   "neargrid status asks a node what it knows of its grid, and shows it.",
	flags: []flagSpec{
		addrFlag, passwordFlag,
		{name: "json", help: "print it as JSON"},
		configFlag,
	},
	run: runStatus,
}

func runStatus(env environment, in inputs) error {
	a, err := newAsker(in)
	if err != nil {
		return err
	}
	asJSON, err := in.on("json")
	if err != nil {
		return err
	}
	if asJSON {
		text, err := a.ask(context.Background(), "GRID.STATUS")
		if err == nil {
			fmt.Fprintln(env.stdout, text)
		}
		return err
	}
	s, err := a.status(context.Background())
	if err == nil {
		printStatus(env.stdout, s)
	}
	return err
}

func printStatus(w io.Writer, s cluster.Status) {
	fmt.Fprintf(w, "grid        %s, table version %d\n", s.Grid, s.Version)
	fmt.Fprintf(w, "promise     %s: %s\n", s.Promise.Profile, s.Promise.Text)
	kept := "yes"
	if !s.Promise.Kept {
		kept = "NO: " + strings.Join(s.Promise.Why, "; ")
	}
	fmt.Fprintf(w, "kept now    %s\n", kept)
	fmt.Fprintf(w, "partitions  %s\n", partitionsText(s.Partitions))
	fmt.Fprintf(w, "moves       %s\n\n", movesText(s.Moves))

	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tZONE\tROLE\tSTATE\tVOTE\tPRIMARY\tBACKUP\tFILLING\tCLIENTS\tPEERS\tVERSION")
	for _, m := range s.Members {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", m.ID, dash(m.Zone), m.Role, stateText(m), voteText(s, m),
			m.Primary, m.Backup, m.Learner, dash(m.Client), m.Peer, dash(m.Version))
	}
	table.Flush()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func stateText(m cluster.MemberState) string {
	if m.Drains && m.State != "draining" {
		return m.State + ", draining"
	}
	return m.State
}

func voteText(s cluster.Status, m cluster.MemberState) string {
	switch {
	case m.ID == s.Leader:
		return "leads"
	case m.Voter:
		return "yes"
	}
	return "-"
}

func partitionsText(c cluster.PartitionCounts) string {
	text := fmt.Sprintf("%d, %d of them served", c.Total, c.Serving)
	if c.Serving == c.Total {
		text = fmt.Sprintf("%d, all served", c.Total)
	}
	for _, part := range []struct {
		count int
		what  string
	}{{c.Lost, "lost"}, {c.BelowMinISR, "take no writes"}, {c.BelowCopies, "with too few copies"}} {
		if part.count > 0 {
			text += fmt.Sprintf(", %d %s", part.count, part.what)
		}
	}
	return text
}

func movesText(m cluster.MoveStatus) string {
	if m.Left == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d under way, %d left", m.UnderWay, m.Left)
	if m.SecondsLeft < 0 {
		return text + ", time left not known yet"
	}
	return text + ", about " + (time.Duration(m.SecondsLeft) * time.Second).String()
}
