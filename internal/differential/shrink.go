package main

import (
	"slices"
	"time"
)

// Bounds on the search for a smaller history.
const (
	shrinkTimeout = 30 * time.Second
	argsShrunkMax = 40 // only a history this short has its arguments shortened
)

// replay runs steps on emptied servers, and returns how many were needed and the difference, nil where there is none.
func (p *pair) replay(steps []step) (int, *difference, error) {
	stats := p.stats
	p.stats = nil
	defer func() { p.stats = stats }()
	if err := p.reset(); err != nil {
		return 0, nil, err
	}
	for i, s := range steps {
		if d := p.do(s); d != nil {
			return i + 1, d, nil
		}
	}
	return len(steps), p.compareState(), nil
}

// shrink removes steps, then arguments, as long as a difference remains. It returns nil where the difference does not
// show again.
func (p *pair) shrink(steps []step) ([]step, *difference) {
	deadline := time.Now().Add(shrinkTimeout)
	n, diff, err := p.replay(steps)
	if diff != nil && diff.fatal {
		deadline = deadline.Add(shrinkTimeout) // every try that succeeds takes replyTimeout
		if !p.revive() {
			return nil, nil
		}
	}
	if err != nil || diff == nil {
		return nil, nil
	}
	steps = slices.Clone(steps[:n])
	try := func(candidate []step) bool {
		if time.Now().After(deadline) {
			return false
		}
		n, d, err := p.replay(candidate)
		if err != nil || d == nil || d.fatal && !p.revive() {
			return false
		}
		steps, diff = slices.Clone(candidate[:n]), d
		return true
	}
	for size := (len(steps) + 1) / 2; ; size /= 2 {
		size = max(size, 1)
		removed := false
		for end := len(steps); end > 0; end -= size {
			end = min(end, len(steps))
			if try(slices.Delete(slices.Clone(steps), max(end-size, 0), end)) {
				removed = true
			}
		}
		if size == 1 && !removed || time.Now().After(deadline) {
			break
		}
	}
	if len(steps) <= argsShrunkMax {
		shrinkArgs(&steps, try)
	}
	return steps, diff
}

// shrinkArgs drops arguments one by one, the last first.
func shrinkArgs(steps *[]step, try func([]step) bool) {
	for i := len(*steps) - 1; i >= 0; i-- {
		if i >= len(*steps) {
			continue
		}
		if (*steps)[i].expires {
			continue
		}
		for j := len((*steps)[i].args) - 1; j > 0; j-- {
			candidate := slices.Clone(*steps)
			candidate[i].args = slices.Delete(slices.Clone(candidate[i].args), j, j+1)
			if try(candidate) && i >= len(*steps) {
				break
			}
		}
	}
}
