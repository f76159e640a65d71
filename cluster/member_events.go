package cluster

import (
	"slices"
	"sync"

	"github.com/hashicorp/serf/serf"

	"github.com/neargrid/neargrid/cluster/core"
)

// collect takes events from Serf, which must never wait for whoever is told of them.
func (m *Membership) collect(events <-chan serf.Event, end <-chan struct{}) {
	for {
		select {
		case e := <-events:
			if e, ok := e.(serf.MemberEvent); ok {
				m.changed(e)
			}
		case <-end:
			for len(events) > 0 { // room for what Serf has in its hand: it looks up only then
				<-events
			}
			return
		}
	}
}

func (m *Membership) changed(e serf.MemberEvent) {
	for _, member := range e.Members {
		info, err := memberInfo(member)
		if err != nil { // never: admission has parsed it
			m.log.Error("tags of a member", "node", member.Name, "error", err)
			continue
		}
		if e.Type == serf.EventMemberReap {
			info.Status = MemberUnknown
		}
		m.changes.put(info)
	}
}

func (m *Membership) deliver(onChange func(MemberEvent), end <-chan struct{}) {
	for {
		select {
		case <-m.changes.some:
		case <-end:
			return
		}
		e, ok := m.changes.take()
		if ok && onChange != nil {
			onChange(e)
		}
	}
}

// changes is a queue of changes to be told, one a node. Those who were told of are at most membersMax, and so are those who
// are members now, so it never has more than twice as many.
type changes struct {
	some chan struct{} // has one while there may be changes
	mu   struct {
		sync.Mutex
		order []core.NodeID // without repetition
		is    map[core.NodeID]MemberInfo
		told  map[core.NodeID]MemberInfo // never MemberUnknown
	}
}

func (q *changes) init() {
	q.some = make(chan struct{}, 1)
	q.mu.is, q.mu.told = map[core.NodeID]MemberInfo{}, map[core.NodeID]MemberInfo{}
}

func (q *changes) put(info MemberInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	node := info.Member.Node
	if _, waits := q.mu.is[node]; !waits {
		q.mu.order = append(q.mu.order, node)
	}
	q.mu.is[node] = info
	if _, told := q.mu.told[node]; !told && info.Status == MemberUnknown { // came and went unnoticed
		delete(q.mu.is, node)
		q.mu.order = slices.DeleteFunc(q.mu.order, func(n core.NodeID) bool { return n == node })
	}
	q.wakeLocked()
}

// take returns the oldest change; false where there is none, or it was taken back.
func (q *changes) take() (MemberEvent, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.order) == 0 {
		return MemberEvent{}, false
	}
	node := q.mu.order[0]
	q.mu.order = q.mu.order[1:]
	e := MemberEvent{q.mu.told[node], q.mu.is[node]}
	delete(q.mu.is, node)
	q.mu.told[node] = e.Is
	if e.Is.Status == MemberUnknown {
		delete(q.mu.told, node)
	}
	q.wakeLocked()
	return e, e.Was != e.Is
}

func (q *changes) wakeLocked() {
	if len(q.mu.order) == 0 {
		return
	}
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// memberInfo makes sense of Serf's member. One that is leaving is alive until it has left: its event comes then.
func memberInfo(s serf.Member) (MemberInfo, error) {
	id, tags, err := parseTags([]byte(s.Tags[""]), core.NodeID(s.Name))
	info := MemberInfo{Identity: id, Tags: tags, Peer: peerPort(s.Addr, s.Port), Status: MemberAlive}
	switch s.Status {
	case serf.StatusFailed:
		info.Status = MemberFailed
	case serf.StatusLeft:
		info.Status = MemberLeft
	}
	return info, err
}
