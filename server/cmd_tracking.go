package server

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// The subcommands of CLIENT that are about tracking. Their rows stand with the others, in cmd_client.go.

const (
	errPrefixWithoutBcast = "ERR PREFIX option requires BCAST mode to be enabled"
	errSwitchBcast        = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
	errBcastWithOpt       = "ERR OPTIN and OPTOUT are not compatible with BCAST"
	errOptinAndOptout     = "ERR You can't specify both OPTIN mode and OPTOUT mode"
	errSwitchOpt          = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
	errTwoRedirects       = "ERR A client can only redirect to a single other client"
	errNoRedirect         = "ERR The client ID you want redirect to does not exist"
	errCachingOff         = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
	errCachingYes         = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
	errCachingNo          = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
)

func cmdClientTracking(c *Call) {
	mode, to, ok := c.trackingMode()
	if !ok {
		return
	}
	s := c.s
	switch {
	case is(c.Args[2], "off"):
		if t := s.tracker; t != nil && t.mu.on {
			t.caching = false
			t.change(trackingMode{}, s)
		}
	case !is(c.Args[2], "on"):
		c.W.Error(protocol.ErrSyntax)
		return
	default:
		old := trackingMode{}
		if s.tracker != nil {
			old = s.tracker.mu.trackingMode
		}
		if text := mode.refusal(&old); text != "" {
			c.W.Error(text)
			return
		}
		if up := c.srv.upstream; up != nil && mode.bcast && up.NoCast() != "" {
			c.W.Error(up.NoCast())
			return
		}
		if up := c.srv.upstream; up != nil && mode.noloop && up.NoLoop() != "" {
			c.W.Error(up.NoLoop())
			return
		}
		s.startTracking(mode, &old, to)
	}
	c.W.OK()
}

// trackingMode reads the options of CLIENT TRACKING, or answers what is wrong with them. to is who is to be told.
func (c *Call) trackingMode() (mode trackingMode, to *Session, ok bool) {
	mode.on, to = true, c.s
	for i := 3; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch arg := c.Args[i]; {
		case is(arg, "redirect") && more:
			i++
			if mode.redirect != 0 {
				c.W.Error(errTwoRedirects)
				return mode, nil, false
			}
			if mode.redirect, ok = c.intArg(i); !ok {
				return mode, nil, false
			}
			if to = c.srv.session(mode.redirect); to == nil {
				c.W.Error(errNoRedirect)
				return mode, nil, false
			}
		case is(arg, "bcast"):
			mode.bcast = true
		case is(arg, "optin"):
			mode.optin = true
		case is(arg, "optout"):
			mode.optout = true
		case is(arg, "noloop"):
			mode.noloop = true
		case is(arg, "prefix") && more:
			i++
			mode.prefixes = append(mode.prefixes, string(c.Args[i]))
		default:
			c.W.Error(protocol.ErrSyntax)
			return mode, nil, false
		}
	}
	return mode, to, true
}

// refusal says why a mode cannot follow another, if so. Checks stand in Redis's order.
func (m *trackingMode) refusal(old *trackingMode) string {
	switch {
	case !m.bcast && len(m.prefixes) > 0:
		return errPrefixWithoutBcast
	case old.on && old.bcast != m.bcast:
		return errSwitchBcast
	case m.bcast && (m.optin || m.optout):
		return errBcastWithOpt
	case m.optin && m.optout:
		return errOptinAndOptout
	case m.optin && old.optout || m.optout && old.optin:
		return errSwitchOpt
	}
	for i, prefix := range m.prefixes {
		for _, other := range old.prefixes {
			if overlap(prefix, other) {
				return overlapping(prefix, "an existing", other)
			}
		}
		for _, other := range m.prefixes[i+1:] {
			if overlap(prefix, other) {
				return overlapping(prefix, "another provided", other)
			}
		}
	}
	return ""
}

// overlap tells whether a key could begin with both prefixes.
func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

func overlapping(prefix, which, other string) string {
	return "ERR Prefix '" + untilNUL([]byte(prefix)) + "' overlaps with " + which + " prefix '" + untilNUL([]byte(other)) +
		"'. Prefixes for a single client must not overlap."
}

// startTracking turns tracking on, or changes its mode. Prefixes come on top of those that there are.
func (s *Session) startTracking(mode trackingMode, old *trackingMode, to *Session) {
	if mode.bcast && len(mode.prefixes) == 0 {
		mode.prefixes = []string{""}
	}
	mode.prefixes = slices.Concat(old.prefixes, mode.prefixes)
	slices.Sort(mode.prefixes)
	mode.prefixes = slices.Compact(mode.prefixes)
	if mode.redirect == 0 {
		mode.native, mode.family = old.native, old.family
	}
	if s.tracker == nil {
		s.tracker = &tracker{s: s}
		s.tracker.mu.to = s
	}
	s.tracker.change(mode, to)
}

// session finds a session by its number; nil where there is none.
func (srv *Server) session(id int64) *Session {
	srv.sessions.Lock()
	defer srv.sessions.Unlock()
	return srv.sessions.byID[id]
}

func cmdClientCaching(c *Call) {
	t := c.s.tracker
	if t == nil || !t.mu.on {
		c.W.Error(errCachingOff)
		return
	}
	switch {
	case is(c.Args[2], "yes") && !t.mu.optin:
		c.W.Error(errCachingYes)
	case is(c.Args[2], "no") && !t.mu.optout:
		c.W.Error(errCachingNo)
	case is(c.Args[2], "yes"), is(c.Args[2], "no"):
		t.caching = true
		c.W.OK()
	default:
		c.W.Error(protocol.ErrSyntax)
	}
}

func cmdClientGetredir(c *Call) { c.W.Int(c.s.redirect()) }

// redirect is the number of the session that is told of changes to what this one reads; 0: itself; -1: it does not track.
func (s *Session) redirect() int64 {
	if s.tracker == nil || !s.tracker.mu.on {
		return -1
	}
	return s.tracker.mu.redirect
}

func cmdClientTrackinginfo(c *Call) {
	c.W.Map(3)
	c.W.BulkString("flags")
	flags := c.s.trackingFlags()
	c.W.Set(len(flags))
	for _, flag := range flags {
		c.W.BulkString(flag)
	}
	c.W.BulkString("redirect")
	c.W.Int(c.s.redirect())
	c.W.BulkString("prefixes")
	var prefixes []string
	if c.s.tracker != nil {
		prefixes = c.s.tracker.mu.prefixes
	}
	c.W.Array(len(prefixes))
	for _, prefix := range prefixes {
		c.W.BulkString(prefix)
	}
}

// trackingFlags are the words of CLIENT TRACKINGINFO.
func (s *Session) trackingFlags() []string {
	t := s.tracker
	if t == nil || !t.mu.on {
		return []string{"off"}
	}
	flags := []string{"on"}
	for _, f := range []struct {
		is   bool
		word string
	}{
		{t.mu.bcast, "bcast"},
		{t.mu.optin, "optin"}, {t.mu.optin && t.caching, "caching-yes"},
		{t.mu.optout, "optout"}, {t.mu.optout && t.caching, "caching-no"},
		{t.mu.noloop, "noloop"},
		{t.isBroken(), "broken_redirect"},
	} {
		if f.is {
			flags = append(flags, f.word)
		}
	}
	return flags
}

// limitEffort is how many keys of a tracking table that is too large are forgotten at a time; each time that was not enough, by as many
// more the next time, as in Redis.
const limitEffort = 100

// limitTracking keeps the number of tracked keys within tracking-table-max-keys, in time.
func (srv *Server) limitTracking() {
	keysMax := srv.config.TrackingTableMaxKeys.Load()
	if keysMax == 0 || srv.store.Tracking().Keys() <= keysMax {
		return
	}
	effort := limitEffort * (int(srv.trackingOver.Load()) + 1)
	if srv.store.ShrinkTracked(keysMax, effort, rand.IntN) {
		srv.trackingOver.Add(1)
		return
	}
	srv.trackingOver.Store(0)
}
