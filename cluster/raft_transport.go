package cluster

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// patientTransport is raft's network transport, except that it sends entries to a server that cannot be reached again and again, where
// raft would wait. Raft's pause after a failure is doubled up to 10 s, whatever the server does meanwhile: one that has been down for some
// seconds would be back, and get no entries for as long as it was away. If then another voter ended, nothing would be committed until
// that pause is over.
//
// Raft has a goroutine for the entries of each server, which waits here instead, and another for heartbeats, which do not.
type patientTransport struct {
	*raft.NetworkTransport
	raft atomic.Pointer[raft.Raft] // nil until it is started
}

// patientPause is between two attempts.
const patientPause = 100 * time.Millisecond

func (t *patientTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	for {
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		if err == nil || args.PrevLogEntry == 0 && len(args.Entries) == 0 || !t.owes(id, args.Term) {
			return err
		}
		time.Sleep(patientPause)
	}
}

// owes tells whether this node still leads in a term, and the server is still to have its entries. A raft that is being shut down leads
// no more.
func (t *patientTransport) owes(id raft.ServerID, term uint64) bool {
	r := t.raft.Load()
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term &&
		slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}
