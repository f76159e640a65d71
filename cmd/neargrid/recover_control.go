package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
)

// Beginning another control plane (R34): the command, and what the node that is asked does.

// Times of a recovery. Each of the many nodes is asked within seconds, and a voter that ends its part waits for what it has sent.
const (
	recoverTimeout  = 25 * time.Second               // at the node
	recoverPatience = recoverTimeout + 2*time.Second // of who asks it
)

// controlReport is what a node found out about the grid's control plane, for a person.
type controlReport struct {
	Grid       string   `json:"grid"`
	Generation string   `json:"generation"`
	Version    uint64   `json:"version"` // of the newest table
	Voters     []string `json:"voters"`
	Reached    []string `json:"reached"` // starts of nodes that answer
	Silent     []string `json:"silent"`  // starts that do not
	Refusal    string   `json:"refusal"` // why nothing can be begun, whoever is gone; "": nothing is known against it
}

// surveyControl is for GRID.RECOVER control-plane.
func (g *grid) surveyControl(ctx context.Context) (string, error) {
	s, err := g.node.SurveyControl(ctx)
	if err != nil {
		return "", err
	}
	r := controlReport{
		Grid: hex.EncodeToString(s.Grid[:]), Generation: s.Generation.String(), Version: s.Version,
		Voters: []string{}, Reached: []string{}, Silent: []string{},
	}
	for _, id := range s.Voters {
		r.Voters = append(r.Voters, string(id))
	}
	for _, m := range s.Reached {
		r.Reached = append(r.Reached, string(startOf(m)))
	}
	for i := range s.Silent {
		r.Silent = append(r.Silent, string(startOf(s.Silent[i].Member())))
	}
	if s.Refusal != nil {
		r.Refusal = s.Refusal.Error()
	}
	text, err := json.Marshal(r)
	return string(text), err
}

// newControl is for GRID.RECOVER new-control-plane START ...
func (g *grid) newControl(ctx context.Context, names []string) (string, error) {
	s, err := g.node.SurveyControl(ctx)
	if err != nil {
		return "", err
	}
	var gone []core.Member
	for _, name := range names {
		m, err := findSilent(s, name)
		if err != nil {
			return "", err
		}
		gone = append(gone, m)
	}
	r, err := g.node.RecoverControl(ctx, s, gone)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("generation %s of the control plane has begun here: %d partitions are served or about to be, %d are lost",
		r.Generation, r.Serving, r.Lost), nil
}

// findSilent turns the name of a start into one of those that do not answer.
func findSilent(s *cluster.Survey, name string) (core.Member, error) {
	id, digits, err := cutStart(name)
	if err != nil {
		return core.Member{}, err
	}
	for i := range s.Silent {
		if m := s.Silent[i].Member(); isStart(m, id, digits) {
			return m, nil
		}
	}
	for _, m := range s.Reached {
		if string(m.Node) == id {
			return core.Member{}, fmt.Errorf("%s was said to be off for good, and its node answers", name)
		}
	}
	return core.Member{}, fmt.Errorf("%s is no start of a node that does not answer", name)
}

func runNewControlPlane(env environment, in inputs, a asker, dead []string, sure bool) error {
	text, err := a.ask(context.Background(), "GRID.RECOVER", "control-plane")
	if err != nil {
		return err
	}
	var r controlReport
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("%s: the answer is not understood: %w", a.addr, err)
	}
	if r.Refusal != "" {
		return errors.New(r.Refusal)
	}
	if unnamed := notNamed(r.Silent, dead); len(unnamed) > 0 {
		return fmt.Errorf("%d nodes do not answer, and could still be serving: bring them back, or, once it is sure that these processes are "+
			"off for good, name them: --dead %s", len(unnamed), strings.Join(append(unnamed, dead...), ","))
	}
	if !sure && !isMeantControl(env, a, r, dead) {
		return errors.New("nothing was done")
	}
	if text, err = a.ask(context.Background(), append([]string{"GRID.RECOVER", "new-control-plane"}, dead...)...); err == nil {
		fmt.Fprintln(env.stdout, text)
	}
	return err
}

// notNamed are the starts of which no name is given.
func notNamed(starts, names []string) (unnamed []string) {
	for _, start := range starts {
		named := false
		for _, name := range names {
			id, digits, err := cutStart(name)
			named = named || err == nil && strings.HasPrefix(start, id+"/"+digits)
		}
		if !named {
			unnamed = append(unnamed, start)
		}
	}
	return unnamed
}

// isMeantControlWord is what a person types.
const isMeantControlWord = "begin"

func isMeantControl(env environment, a asker, r controlReport, dead []string) bool {
	list := func(lines []string) string {
		if len(lines) == 0 {
			return "  (none)"
		}
		return "  " + strings.Join(lines, "\n  ")
	}
	fmt.Fprintf(env.stdout, "Grid %s gets another control plane, which begins at %s, in place of generation %s. These answer,\n"+
		"and go over to it:\n%s\nThese are given up. This must be sure: the processes have ended, and cannot come back with what they had:\n%s\n"+
		"This must be sure, too: no other node of the grid runs anywhere. One that was cut off could have let in others, and\n"+
		"serve the same keys. Type '%s' to go on: ", r.Grid, a.addr, r.Generation, list(r.Reached), list(dead), isMeantControlWord)
	line, _ := bufio.NewReader(env.stdin).ReadString('\n')
	return strings.TrimSpace(line) == isMeantControlWord
}
