package core

import "time"

// ControlOptions are the controller's times.
type ControlOptions struct {
	Lease   time.Duration // L; a reset waits for twice as long (R10)
	Silence time.Duration // a node that was not heard for so long is dead (R3)
	Behind  time.Duration // as is one whose table was out of date for so long
	Repeat  time.Duration // what was proposed and has changed nothing is proposed again
	Limits  PlanLimits
	Marks   *Marks // may be nil
}

// DefaultControlOptions are what a voter uses.
func DefaultControlOptions() ControlOptions {
	return ControlOptions{
		Lease: time.Second, Silence: time.Second, Behind: 2 * time.Second, Repeat: 500 * time.Millisecond,
		Limits: PlanLimits{LearnersPerNode: 16, LearnersPerSource: 16},
	}
}

// Controller makes the control plane's decisions: who is dead, where copies go, when a loss is reset. Every voter runs one and
// tells it of each heartbeat, so that a new leader knows what it observed as a follower (R3); the leader's decisions count.
//
// It trusts its own observations alone, by its own clock.
type Controller struct {
	opt      ControlOptions
	heard    map[Member]*observed
	since    time.Duration // when observing began, or began anew after a sleep
	tickedAt time.Duration
	ticked   bool
	lostAt   map[int]loss
	// When the last plan was made, and of which table.
	version   uint64
	plannedAt time.Duration
}

// observed is what was heard of one incarnation.
type observed struct {
	at time.Duration // of its last heartbeat
	// It has to show a table of at least owes, since owesAt; 0 = it owes none.
	owes   uint64
	owesAt time.Duration
}

// loss is a lost partition that this controller watches.
type loss struct {
	epoch uint64
	at    time.Duration
}

// NewController returns one that has heard nobody yet.
func NewController(opt ControlOptions) *Controller {
	return &Controller{opt: opt, heard: map[Member]*observed{}, lostAt: map[int]loss{}}
}

// Heard notes a heartbeat of a member, which had applied the given version of the table.
func (c *Controller) Heard(m Member, version uint64, now time.Duration) {
	o := c.heard[m]
	if o == nil {
		o = &observed{}
		c.heard[m] = o
	}
	o.at = now
	if version >= o.owes {
		o.owes = 0
	}
}

// Tick returns what to propose. t is the table as this voter knows it; where it does not lead, nothing is proposed. It is
// called at least every asleepMin: after a longer gap it was asleep itself, and nobody is judged by that time (R3).
func (c *Controller) Tick(t *Table, leads bool, now time.Duration) (commands []Command) {
	if !c.ticked || now > c.tickedAt+asleepMin {
		c.opt.Marks.hit(ControllerAwoke)
		c.since = now
		c.lostAt = map[int]loss{}
		for _, o := range c.heard {
			o.owesAt = max(o.owesAt, now)
		}
	}
	c.ticked, c.tickedAt = true, now
	c.forget(t, now)
	dead := c.dead(t, now)
	if !leads {
		c.lostAt = map[int]loss{}
		return nil
	}
	for _, m := range dead {
		commands = append(commands, Command{Kind: FenceNode, Member: m})
	}
	changes := c.resets(t, now)
	if len(dead) == 0 && (t.Version != c.version || now >= c.plannedAt+c.opt.Repeat) {
		// A plan takes its time, and there is no other before the table changes.
		c.version, c.plannedAt = t.Version, now
		if level := t.featureOfAll(); level > t.Settings.Feature {
			commands = append(commands, Command{Kind: SetFeature, Feature: level})
		}
		changes = append(changes, Plan(t, c.opt.Limits)...)
	}
	if len(changes) > 0 {
		commands = append(commands, Command{Kind: ChangeRows, Changes: changes})
	}
	return commands
}

// forget drops what was heard of incarnations that are over, or that are silent and never registered.
func (c *Controller) forget(t *Table, now time.Duration) {
	for m, o := range c.heard {
		n := t.Node(m.Node)
		if n != nil && n.Inc != m.Inc || n == nil && now > o.at+c.opt.Silence {
			delete(c.heard, m)
		}
	}
}

// dead returns the members that are silent or behind, in the registry's order.
func (c *Controller) dead(t *Table, now time.Duration) (dead []Member) {
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Status == Fenced {
			delete(c.heard, n.Member()) // what it owes then is counted from its return
			continue
		}
		o := c.heard[n.Member()]
		if o == nil {
			o = &observed{}
			c.heard[n.Member()] = o
			o.at = now // it registered, so it was alive just now
		}
		if o.owes == 0 {
			o.owes, o.owesAt = t.Version, now
		}
		switch {
		case now > max(o.at, c.since)+c.opt.Silence:
			c.opt.Marks.hit(FencedSilent)
			dead = append(dead, n.Member())
		case now > o.owesAt+c.opt.Behind:
			c.opt.Marks.hit(FencedBehind)
			dead = append(dead, n.Member())
		}
	}
	return dead
}

// resets proposes a new, empty beginning for partitions that have been lost for 2 L, where the settings allow: by then the
// last owner has noticed that nobody vouches for it any more (R10).
func (c *Controller) resets(t *Table, now time.Duration) (changes []Change) {
	if !t.Settings.ResetLost {
		return nil
	}
	load := t.Primaries()
	for p := range t.Rows {
		r := &t.Rows[p]
		if r.State != Lost {
			delete(c.lostAt, p)
			continue
		}
		l, watched := c.lostAt[p]
		if !watched || l.epoch != r.Epoch {
			c.lostAt[p] = loss{r.Epoch, now}
			continue
		}
		if now < l.at+2*c.opt.Lease {
			continue
		}
		least := t.LeastLeading(load)
		if least.IsZero() {
			continue
		}
		load[least.Node]++
		c.lostAt[p] = loss{l.epoch, now - 2*c.opt.Lease + c.opt.Repeat} // once more, if nothing comes of it
		c.opt.Marks.hit(ResetProposed)
		changes = append(changes, Change{Kind: Reset, Partition: p, Epoch: r.Epoch, Member: least})
	}
	return changes
}
