package server

// Of publish and subscribe there is what RESP2 clients with a near cache need: to hear of invalidations, another connection of theirs
// subscribes to __redis__:invalidate. As nothing can be published to any other channel, a subscription to one would be silent for
// good: it is refused.

var pubsubRows = []*Row{
	{Name: "subscribe", Arity: -2, Flags: PubSub | NoScript | Loading | Stale, Group: "pubsub",
		Since: "2.0.0", Complexity: "O(N)",
		Summary: "Has invalidations sent to this connection, by the channel __redis__:invalidate. There are no other channels.",
		Syntax:  "channel [channel ...]", Run: cmdSubscribe},
	{Name: "unsubscribe", Arity: -1, Flags: PubSub | NoScript | Loading | Stale, Group: "pubsub",
		Since: "2.0.0", Complexity: "O(N)",
		Summary: "Ends subscriptions, all of them if none is named.",
		Syntax:  "[channel [channel ...]]", Run: cmdUnsubscribe},
}

func cmdSubscribe(c *Call) {
	for _, channel := range c.Args[1:] {
		if string(channel) != invalidateChannel {
			name := untilNUL(clip(channel, 128))
			c.W.Error(sanitize("ERR There is no channel '" + name + "': neargrid has " + invalidateChannel + " alone, and no PUBLISH"))
			return
		}
	}
	for _, channel := range c.Args[1:] {
		if !c.s.subscribed.Swap(true) {
			c.srv.subscribers.Add(1)
		}
		c.s.tellSubscription(c, "subscribe", channel)
	}
}

func cmdUnsubscribe(c *Call) {
	switch {
	case len(c.Args) == 1 && !c.s.subscribed.Load():
		c.s.tellSubscription(c, "unsubscribe", nil)
	case len(c.Args) == 1:
		c.s.unsubscribe()
		c.s.tellSubscription(c, "unsubscribe", []byte(invalidateChannel))
	}
	for _, channel := range c.Args[1:] {
		if string(channel) == invalidateChannel {
			c.s.unsubscribe()
		}
		c.s.tellSubscription(c, "unsubscribe", channel)
	}
}

// unsubscribe ends the session's subscription, if it has one.
func (s *Session) unsubscribe() {
	if s.subscribed.Swap(false) {
		s.srv.subscribers.Add(-1)
	}
}

// tellSubscription tells of one channel what was done, and how many the session has now.
func (s *Session) tellSubscription(c *Call, what string, channel []byte) {
	c.W.Push(3)
	c.W.BulkString(what)
	if channel == nil {
		c.W.Null()
	} else {
		c.W.Bulk(channel)
	}
	c.W.Int(int64(s.subscriptions()))
}

func (s *Session) subscriptions() int {
	if s.subscribed.Load() {
		return 1
	}
	return 0
}

// onlyPubSub tells whether a command is refused because a session of RESP2 listens: its client could not tell replies from messages.
func (s *Session) onlyPubSub(row *Row) bool {
	if s.resp != 2 || !s.subscribed.Load() {
		return false
	}
	switch row.fullName() {
	case "ping", "subscribe", "unsubscribe", "quit", "reset":
		return false
	}
	return true
}

func errOnlyPubSub(row *Row) string {
	return "ERR Can't execute '" + row.fullName() + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
}
