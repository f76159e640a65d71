package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
)

// adminTimeout bounds what a person asks of the grid.
const adminTimeout = 5 * time.Second

// Admin runs a person's command:
//
//	status                             the grid, as cluster.Status in JSON
//	drain [NODE]                       has a node leave; this one where none is named
//	undrain [NODE]                     takes that back
//	recover lost                       which partitions are lost, and which starts of nodes had them last, as losses in JSON
//	recover accept-loss PARTITIONS START...
//	                                   has them begin anew, empty; those starts are off for good
//	recover control-plane              what is known of the control plane, as a controlReport in JSON
//	recover new-control-plane START... has another control plane begin here; those starts are off for good
//	info                               lines for INFO
//
// A node is named by its id, or by as much of it as tells it apart; a start by "node/incarnation" in the same way; partitions as in
// "0-7,12".
func (g *grid) Admin(words []string) (string, error) {
	limit := adminTimeout
	if len(words) > 1 && words[0] == "recover" {
		limit = recoverTimeout
	}
	ctx, cancel := context.WithTimeout(g.closing, limit)
	defer cancel()
	switch name, rest := words[0], words[1:]; name {
	case "status":
		text, err := json.Marshal(g.node.Status())
		return string(text), err
	case "info":
		return infoLines(g.node.StatusAtHand()), nil
	case "drain":
		return g.changeNode(ctx, name, rest, g.node.Drain)
	case "undrain":
		return g.changeNode(ctx, name, rest, g.node.Undrain)
	case "recover":
		return g.recover(ctx, rest)
	}
	return "", fmt.Errorf("nothing is known of %q", words)
}

func (g *grid) changeNode(ctx context.Context, what string, names []string, change func(context.Context, core.NodeID) error) (string, error) {
	id := g.node.Self().Node
	if len(names) > 0 {
		var err error
		if id, err = findNode(g.node.Table(), names[0]); err != nil {
			return "", err
		}
	}
	if err := change(ctx, id); err != nil {
		return "", err
	}
	g.log.Info("asked by a person", "what", what, "of", id)
	return string(id), nil
}

// findNode is the node whose id begins with name.
func findNode(t *core.Table, name string) (core.NodeID, error) {
	var found []core.NodeID
	for i := range t.Nodes {
		id := t.Nodes[i].ID
		if string(id) == name {
			return id, nil
		}
		if name != "" && strings.HasPrefix(string(id), name) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no node %q in the grid", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("the ids of %d nodes begin with %q", len(found), name)
}

// loss is a start of a node, and the lost partitions that it had last.
type loss struct {
	Start      string `json:"start"` // node/incarnation
	Partitions string `json:"partitions"`
}

func (g *grid) recover(ctx context.Context, words []string) (string, error) {
	switch {
	case len(words) == 1 && words[0] == "lost":
		text, err := json.Marshal(losses(g.node.Table()))
		return string(text), err
	case len(words) >= 3 && words[0] == "accept-loss":
		partitions, err := parsePartitions(words[1])
		if err != nil {
			return "", err
		}
		dead, err := findStarts(g.node.Table(), words[2:])
		if err != nil {
			return "", err
		}
		if err := g.node.AcceptLoss(ctx, partitions, dead...); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d partitions begin anew, empty", len(partitions)), nil
	case len(words) == 1 && words[0] == "control-plane":
		return g.surveyControl(ctx)
	case len(words) >= 1 && words[0] == "new-control-plane":
		return g.newControl(ctx, words[1:])
	}
	return "", errors.New("write 'lost', 'accept-loss PARTITIONS NODE/INCARNATION ...', 'control-plane', or 'new-control-plane NODE/INCARNATION ...'")
}

// losses are in order of the starts.
func losses(t *core.Table) []loss {
	had := map[core.Member][]int{}
	var starts []core.Member
	for p := range t.Rows {
		r := &t.Rows[p]
		if r.State != core.Lost {
			continue
		}
		if had[r.LastDropped] == nil {
			starts = append(starts, r.LastDropped)
		}
		had[r.LastDropped] = append(had[r.LastDropped], p)
	}
	slices.SortFunc(starts, core.Member.Compare)
	all := []loss{}
	for _, m := range starts {
		all = append(all, loss{string(startOf(m)), formatPartitions(had[m])})
	}
	return all
}

// findStarts turns names of starts into those that had a lost partition last.
func findStarts(t *core.Table, names []string) (dead []core.Member, err error) {
	for _, name := range names {
		m, err := findStart(t, name)
		if err != nil {
			return nil, err
		}
		dead = append(dead, m)
	}
	return dead, nil
}

// startMin is how many digits of an incarnation have to be given: what is accepted cannot be taken back.
const startMin = 8

func findStart(t *core.Table, name string) (core.Member, error) {
	id, digits, err := cutStart(name)
	if err != nil {
		return core.Member{}, err
	}
	for p := range t.Rows {
		if m := t.Rows[p].LastDropped; t.Rows[p].State == core.Lost && isStart(m, id, digits) {
			return m, nil
		}
	}
	return core.Member{}, fmt.Errorf("%s had no partition last that is lost", name)
}

// cutStart reads "node/incarnation", of which the latter may be cut short.
func cutStart(name string) (id, digits string, err error) {
	id, digits, ok := strings.Cut(strings.ToLower(name), "/")
	if _, err := hex.DecodeString(digits[:len(digits)&^1]); !ok || err != nil || len(digits) < startMin {
		return "", "", fmt.Errorf("%q is no start of a node: write NODE/INCARNATION, as 'neargrid recover' tells it", name)
	}
	return id, digits, nil
}

func isStart(m core.Member, id, digits string) bool {
	return string(m.Node) == id && strings.HasPrefix(hex.EncodeToString(m.Inc[:]), digits)
}

// partitionsMax bounds the partitions of a grid.
const partitionsMax = 16384

// parsePartitions reads "0-7,12".
func parsePartitions(text string) (partitions []int, err error) {
	seen := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err1 := strconv.Atoi(from)
		last, err2 := first, error(nil)
		if isRange {
			last, err2 = strconv.Atoi(to)
		}
		if err1 != nil || err2 != nil || first < 0 || last < first || last >= partitionsMax {
			return nil, fmt.Errorf("%q are no partitions: write them as in 0-7,12", text)
		}
		for p := first; p <= last; p++ {
			if !seen[p] {
				seen[p] = true
				partitions = append(partitions, p)
			}
		}
	}
	return partitions, nil
}

// formatPartitions writes ascending partitions as parsePartitions reads them.
func formatPartitions(partitions []int) string {
	var b strings.Builder
	for i := 0; i < len(partitions); {
		j := i
		for j+1 < len(partitions) && partitions[j+1] == partitions[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(partitions[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(partitions[j]))
		}
		i = j + 1
	}
	return b.String()
}

// infoLines are what INFO says of the grid.
func infoLines(s cluster.Status) string {
	var b strings.Builder
	put := func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) }
	flag := map[bool]int{true: 1}
	put("grid_id", s.Grid)
	put("grid_node", s.Node)
	put("grid_leader", s.Leader)
	put("grid_table_version", s.Version)
	put("grid_feature_level", s.Feature)
	alive := 0
	var self cluster.MemberState
	for _, m := range s.Members {
		if m.State == core.Alive.String() {
			alive++
		}
		if m.ID == s.Node {
			self = m
		}
	}
	put("grid_nodes", len(s.Members))
	put("grid_nodes_alive", alive)
	put("grid_node_state", self.State)
	put("grid_node_primaries", self.Primary)
	put("grid_node_backups", self.Backup)
	put("grid_node_learners", self.Learner)
	put("promise_profile", s.Promise.Profile)
	put("promise", s.Promise.Text)
	put("promise_kept", flag[s.Promise.Kept])
	put("promise_not_kept_because", strings.Join(s.Promise.Why, "; "))
	put("partitions_total", s.Partitions.Total)
	put("partitions_serving", s.Partitions.Serving)
	put("partitions_lost", s.Partitions.Lost)
	put("partitions_below_copies", s.Partitions.BelowCopies)
	put("partitions_below_min_isr", s.Partitions.BelowMinISR)
	put("moves_under_way", s.Moves.UnderWay)
	put("moves_left", s.Moves.Left)
	put("moves_seconds_left", s.Moves.SecondsLeft)
	return b.String()
}
