package cluster

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

const (
	joinTime        = 10 * time.Second // before a node with Join and Create creates (R33)
	joinRetryPause  = 500 * time.Millisecond
	joinNews        = 5 * time.Second // between log lines of a node that joins
	joinTimeout     = 2 * time.Second // for one address, in one round
	joinAddressMax  = 64
	resumeCheckTime = time.Second // to find out that an address is another grid's
)

var (
	// ErrNotMember: the node that answered is of no grid yet.
	ErrNotMember = errors.New("it is not a member of a grid yet")
	// ErrNothingToDo: neither state, nor Join, nor Create.
	ErrNothingToDo = errors.New("there is no grid here to resume, none to join, and none is to be created")
)

// JoinError says of each address why the node could not join there. It wraps their errors.
type JoinError struct {
	Attempts []JoinAttempt
}

// JoinAttempt is what became of one address, the last time.
type JoinAttempt struct {
	Addr string
	Err  error
}

func (e *JoinError) Error() string {
	var b strings.Builder
	b.WriteString("cannot join a grid")
	for i, a := range e.Attempts {
		fmt.Fprintf(&b, "%s %s: %v", []string{":", ";"}[min(i, 1)], a.Addr, a.Err)
	}
	return b.String()
}

func (e *JoinError) Unwrap() (errs []error) {
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// refusals counts who has refused for good, and hopes the others that may yet take the node in.
func (e *JoinError) refusals() (refused, hopes int) {
	for _, a := range e.Attempts {
		switch {
		case errors.Is(a.Err, ErrWrongSecret), errors.Is(a.Err, ErrOtherGrid), errors.Is(a.Err, ErrVersion):
			refused++
		case !errors.Is(a.Err, ErrSelf):
			hopes++
		}
	}
	return refused, hopes
}

// enter makes the node a member: it resumes, joins or creates (R33).
func (c *ControlPlane) enter(ctx context.Context, saved savedGrid) error {
	switch {
	case c.config.heritage != nil:
		c.config.Transport.SetGrid(saved.Grid)
		if info := c.config.heritage.info; info.Member { // else it had no table
			if err := c.learn(info); err != nil {
				return err
			}
		}
		if !c.config.joining {
			return nil
		}
		return c.awaitMember(ctx)
	case saved.known():
		c.config.Transport.SetGrid(saved.Grid)
		return c.resume(ctx)
	case c.raft.resumed:
		c.log.Info("goes on with a control plane that was just begun")
		return c.awaitMember(ctx)
	case len(c.config.Join) > 0:
		failed := c.join(ctx)
		if failed == nil {
			return c.awaitMember(ctx)
		}
		// Who refuses is there, and may well be a member of what was meant: no second grid beside it.
		if refused, _ := failed.refusals(); c.config.Create == nil || refused > 0 || ctx.Err() != nil {
			return failed
		}
		c.log.Info("creates a grid", "since", failed)
	}
	if c.config.Create == nil {
		return ErrNothingToDo
	}
	if err := c.raft.bootstrap(); err != nil {
		return err
	}
	return c.awaitMember(ctx)
}

func (c *ControlPlane) awaitMember(ctx context.Context) error {
	select {
	case <-c.registered:
		return nil
	case <-c.promises.succeeded:
		return errSucceeded
	case <-ctx.Done():
		return fmt.Errorf("become a member of the grid: %w", ctx.Err())
	}
}

// join asks the listed nodes for their grid until one is a member: until ctx ends, all have refused for good, or, where the node
// may create a grid, for joinTime.
func (c *ControlPlane) join(ctx context.Context) *JoinError {
	var last *JoinError
	start := c.config.Now()
	told := start - joinNews
	for ; ; pause(ctx, joinRetryPause) {
		failed := c.tryJoin(ctx)
		if failed == nil {
			return nil
		}
		if ctx.Err() != nil && last != nil {
			return last // the newest attempt was cut short, and says only that
		}
		last = failed
		if now := c.config.Now(); now >= told+joinNews {
			c.log.Info("is not a member yet, and tries again", "error", failed)
			told = now
		}
		refused, hopes := failed.refusals()
		if refused > 0 && hopes == 0 || ctx.Err() != nil || c.config.Create != nil && c.config.Now() >= start+joinTime {
			return failed
		}
	}
}

// tryJoin asks all addresses at once, and takes the first in the list that is a member.
func (c *ControlPlane) tryJoin(ctx context.Context) *JoinError {
	infos, errs := c.askAll(ctx, joinTimeout)
	failed := &JoinError{}
	for i, addr := range c.config.Join {
		if errs[i] == nil && !infos[i].Member {
			errs[i] = ErrNotMember
		}
		if errs[i] == nil {
			errs[i] = c.adopt(infos[i])
		}
		if errs[i] == nil {
			return nil
		}
		failed.Attempts = append(failed.Attempts, JoinAttempt{addr, errs[i]})
	}
	return failed
}

func (c *ControlPlane) askAll(ctx context.Context, limit time.Duration) (infos []gridInfo, errs []error) {
	infos, errs = make([]gridInfo, len(c.config.Join)), make([]error, len(c.config.Join))
	var asking sync.WaitGroup
	for i, addr := range c.config.Join {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			infos[i], errs[i] = c.links.pull(ctx, addr, limit, 0)
		})
	}
	asking.Wait()
	return infos, errs
}

// adopt makes a member's grid this node's: on disk first, so that it never takes part in two.
func (c *ControlPlane) adopt(info gridInfo) error {
	if info.Grid == [16]byte{} || info.Grid != info.Delta.Settings.Grid {
		return fmt.Errorf("%w: grid %x with a table of grid %x", ErrEncoding, info.Grid, info.Delta.Settings.Grid)
	}
	if info.Generation != c.generation {
		return c.follow(info)
	}
	err := c.saveState(func(s *savedGrid) error {
		s.Grid, s.Peers = info.Grid, addressesOf(info.Servers)
		return nil
	})
	if err != nil {
		return err
	}
	c.config.Transport.SetGrid(info.Grid)
	return c.learn(info)
}

// resume goes on with the grid on disk. It waits for nobody, but does not start where a listed node is of another grid: one of
// the two, list or directory, is not what was meant.
func (c *ControlPlane) resume(ctx context.Context) error {
	infos, errs := c.askAll(ctx, resumeCheckTime)
	failed := &JoinError{}
	for i, err := range errs {
		if err == nil && infos[i].Member && infos[i].Generation.Number > c.generation.Number {
			err = c.follow(infos[i]) // it may be refused, so this comes first
		}
		if errors.Is(err, ErrOtherGrid) || errors.Is(err, ErrReplaced) {
			failed.Attempts = append(failed.Attempts, JoinAttempt{c.config.Join[i], err})
		}
	}
	if len(failed.Attempts) > 0 {
		return failed
	}
	select {
	case <-c.promises.succeeded:
		return errSucceeded
	default:
		signal(c.pullWanted)
		return nil
	}
}

// create gives a control plane that has just begun its grid.
func (l *controlLoop) create() {
	c := l.c
	if c.config.Create == nil || len(c.follower.newest().Rows) > 0 || l.registering {
		return
	}
	settings := *c.config.Create
	if settings.Feature == 0 {
		settings.Feature = c.config.Transport.Identity().FeatureMax
	}
	for _, id := range []*[16]byte{&settings.Grid, &settings.Seed} {
		if _, err := io.ReadFull(c.config.Random, id[:]); err != nil {
			c.fail(fmt.Errorf("create a grid: %w", err))
			return
		}
	}
	l.registering = true
	l.spawn(func() func() {
		ctx, cancel := context.WithTimeout(c.closing, proposeLaterTimeout)
		defer cancel()
		_, err := c.Propose(ctx, core.Command{Kind: core.CreateGrid, Settings: settings, Node: c.node()})
		var refused *RefusedError
		switch {
		case errors.As(err, &refused) && !errors.Is(err, core.ErrRefused):
			c.fail(fmt.Errorf("create a grid: %w", err)) // the settings are wrong
		case err != nil:
			c.log.Warn("create a grid", "error", err)
		}
		return func() { l.registering = false }
	})
}

// save keeps the grid and where its servers are on disk, for the next start.
func (l *controlLoop) save() {
	c := l.c
	list, grid := c.servers(), c.config.Transport.Identity().Grid
	if c.config.DataDir == "" || grid == [16]byte{} || l.saving || list.Index == l.savedIndex {
		return
	}
	l.saving = true
	l.spawn(func() func() {
		err := c.saveState(func(s *savedGrid) error {
			s.Grid, s.Peers = grid, addressesOf(*list)
			return nil
		})
		if err != nil {
			c.log.Error("save the grid", "error", err)
		}
		return func() {
			if l.saving = false; err == nil {
				l.savedIndex = list.Index
			}
		}
	})
}

func addressesOf(list serverList) (addrs []string) {
	for _, s := range list.Servers {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// savedGrid is what a node has on disk besides raft's state: which grid it is of, and where to find that.
type savedGrid struct {
	Grid  [16]byte
	Node  core.NodeID
	Peers []string

	Generation Generation // of the control plane that the node follows
	Promised   Generation // the only one that it may follow next (R34); zero: it has promised nothing, and is in its own
	// Superseded are promises that later ones took the place of, and that nobody has taken back: the last of them counts again when the later one
	// is taken back. At most supersededMax; none where Promised is zero.
	Superseded []supersededPromise
}

// supersededPromise is a promise to follow a generation, and where that begins.
type supersededPromise struct {
	Generation Generation
	Founder    string
}

// supersededMax is far more recoveries than persons begin before one of them comes to an end. Of more, the oldest are forgotten.
const supersededMax = 16

func (s savedGrid) known() bool { return s.Grid != [16]byte{} }

const (
	gridFile    = "grid.json"
	gridVersion = 1
	// gridVersionLater has generations. A program that knows none must not read it: it would take part in what was given up.
	gridVersionLater = 2
)

// gridJSON is the file's form.
type gridJSON struct {
	Version int      `json:"version"`
	Grid    string   `json:"grid"`
	Node    string   `json:"node"`
	Peers   []string `json:"peers"`

	Generation *generationJSON `json:"generation,omitempty"`
	Promised   *generationJSON `json:"promised,omitempty"`

	Superseded []supersededJSON `json:"superseded,omitempty"`
}

type supersededJSON struct {
	Generation *generationJSON `json:"generation"`
	Founder    string          `json:"founder"`
}

// loadGrid reads what a node's directory says; nothing where there is no directory or file.
func loadGrid(dir string, node core.NodeID) (savedGrid, error) {
	if dir == "" {
		return savedGrid{}, nil
	}
	path := filepath.Join(dir, gridFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return savedGrid{}, nil
	}
	var j gridJSON
	if err == nil {
		err = json.Unmarshal(b, &j)
	}
	s := savedGrid{Node: core.NodeID(j.Node), Peers: j.Peers}
	if err == nil {
		var id []byte
		if id, err = hex.DecodeString(j.Grid); copy(s.Grid[:], id) != len(s.Grid) && err == nil {
			err = fmt.Errorf("%q is no grid id", j.Grid)
		}
	}
	if err == nil {
		s.Generation, err = j.Generation.parse()
	}
	if err == nil {
		s.Promised, err = j.Promised.parse()
	}
	for i := 0; i < len(j.Superseded) && err == nil; i++ {
		p := supersededPromise{Founder: j.Superseded[i].Founder}
		p.Generation, err = j.Superseded[i].Generation.parse()
		s.Superseded = append(s.Superseded, p)
	}
	switch {
	case err != nil:
		return savedGrid{}, fmt.Errorf("%s: %w", path, err)
	case j.Version != gridVersion && j.Version != gridVersionLater:
		return savedGrid{}, fmt.Errorf("%s: version %d, and this program knows %d", path, j.Version, gridVersionLater)
	case s.Node != node:
		return savedGrid{}, fmt.Errorf("%s: it belongs to node %s, and this is %s", path, s.Node, node)
	}
	return s, nil
}

func (s savedGrid) store(dir string) error {
	if dir == "" {
		return nil
	}
	j := gridJSON{
		Version: gridVersion, Grid: hex.EncodeToString(s.Grid[:]), Node: string(s.Node), Peers: s.Peers,
		Generation: generationToJSON(s.Generation), Promised: generationToJSON(s.Promised),
	}
	for _, p := range s.Superseded {
		j.Superseded = append(j.Superseded, supersededJSON{generationToJSON(p.Generation), p.Founder})
	}
	if j.Generation != nil || j.Promised != nil {
		j.Version = gridVersionLater
	}
	b, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, gridFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save the grid's id: %w", err)
	}
	return nil
}
