package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// What nodes ask each other before one control plane takes the place of another (R34), and the messages.

// survey is what this node says of itself to who would begin another control plane, and which nodes answer at some addresses.
func (c *ControlPlane) survey(addrs []string) surveyAnswer {
	a := surveyAnswer{Member: c.self, Promised: c.savedState().Promised, Info: c.info(0)}
	if !c.promises.frozen.Load() { // else it hears nobody, and does not vote
		a.Leader, _ = c.Leader()
		a.Votes = slices.ContainsFunc(c.raft.servers(), func(s raft.Server) bool {
			return s.ID == raft.ServerID(c.self.Node) && s.Suffrage == raft.Voter
		})
	}
	a.Reached = make([]core.NodeID, len(addrs))
	var asking sync.WaitGroup
	for i, addr := range addrs {
		asking.Go(func() {
			if conn, err := c.links.dial(c.closing, addr); err == nil {
				a.Reached[i] = conn.Peer.Member.Node
				conn.Close()
			}
		})
	}
	asking.Wait()
	return a
}

// surveyPeer asks a peer the same.
func (c *ControlPlane) surveyPeer(ctx context.Context, addr string, addrs []string) (a surveyAnswer, err error) {
	b, peer, err := c.links.ask(ctx, addr, true, surveyRequest, appendSurvey(nil, addrs), surveyAnswered)
	if err == nil {
		a, err = parseSurveyAnswer(b)
	}
	a.Member, a.Info.Generation = peer.Member, peer.Generation
	return a, err
}

// askPromise asks a peer for a promise, and returns the newest table that it will ever have of this generation.
func (c *ControlPlane) askPromise(ctx context.Context, addr string, g Generation) (gridInfo, error) {
	b, _, err := c.links.ask(ctx, addr, true, promiseRequest, appendPromise(nil, promiseMessage{g, c.config.Transport.Addr().String()}), promiseAnswered)
	if err != nil {
		return gridInfo{}, err
	}
	reason, info, err := parsePromiseAnswer(b)
	if err == nil && reason != "" {
		err = errors.New(reason)
	}
	return info, err
}

// askRelease takes a peer's promise back.
func (c *ControlPlane) askRelease(ctx context.Context, addr string, g Generation) error {
	_, _, err := c.links.ask(ctx, addr, true, releaseRequest, appendPromise(nil, promiseMessage{g, ""}), releaseAnswered)
	return err
}

// surveyAnswer is what a node says of itself to who would begin another control plane.
type surveyAnswer struct {
	Member   core.Member
	Promised Generation    // what it has promised to follow; zero: nothing
	Votes    bool          // it has the raft state of a voter, and takes part
	Leader   core.NodeID   // whom it hears as leader; "": nobody
	Info     gridInfo      // its table, whole
	Reached  []core.NodeID // who answered at the addresses that it was asked to try; "": nobody
}

func appendSurvey(dst []byte, addrs []string) []byte {
	var e encoder
	e.uint(uint64(len(addrs)))
	for _, addr := range addrs {
		e.text(addr)
	}
	return e.appendTo(dst)
}

func parseSurvey(b []byte) (addrs []string, err error) {
	d := newDecoder(b)
	for range d.count(nodesMax) {
		addrs = append(addrs, d.text(textSizeMax))
	}
	return addrs, d.end()
}

func appendSurveyAnswer(dst []byte, a surveyAnswer) []byte {
	var e encoder
	e.generation(a.Promised)
	e.flag(a.Votes)
	e.text(string(a.Leader))
	e.uint(uint64(len(a.Reached)))
	for _, id := range a.Reached {
		e.text(string(id))
	}
	e.bytes(appendInfo(nil, a.Info))
	return e.appendTo(dst)
}

// parseSurveyAnswer leaves out Member, which the handshake tells.
func parseSurveyAnswer(b []byte) (a surveyAnswer, err error) {
	d := newDecoder(b)
	a.Promised, a.Votes, a.Leader = d.generation(), d.flag(), core.NodeID(d.text(nodeIDSizeMax))
	for range d.count(nodesMax) {
		a.Reached = append(a.Reached, core.NodeID(d.text(nodeIDSizeMax)))
	}
	info := d.bytes(controlSizeMax)
	if err := d.end(); err != nil {
		return surveyAnswer{}, err
	}
	a.Info, err = parseInfo(info)
	return a, err
}

// promiseMessage asks for a promise, or takes one back.
type promiseMessage struct {
	Generation Generation
	Founder    string // where it begins
}

func appendPromise(dst []byte, p promiseMessage) []byte {
	var e encoder
	e.generation(p.Generation)
	e.text(p.Founder)
	return e.appendTo(dst)
}

func parsePromise(b []byte) (p promiseMessage, err error) {
	d := newDecoder(b)
	p.Generation, p.Founder = d.generation(), d.text(textSizeMax)
	return p, d.end()
}

// appendPromiseAnswer says why there is no promise, or, with no reason, which table is the last here.
func appendPromiseAnswer(dst []byte, reason string, info gridInfo) []byte {
	var e encoder
	e.text(reason)
	e.bytes(appendInfo(nil, info))
	return e.appendTo(dst)
}

func parsePromiseAnswer(b []byte) (reason string, info gridInfo, err error) {
	d := newDecoder(b)
	reason = d.text(controlSizeMax)
	in := d.bytes(controlSizeMax)
	if err := d.end(); err != nil {
		return "", gridInfo{}, err
	}
	info, err = parseInfo(in)
	return reason, info, err
}

func (e *encoder) generation(g Generation) {
	e.uint(g.Number)
	e.id(g.ID)
}

func (d *decoder) generation() Generation { return Generation{Number: d.uint(), ID: d.id()} }
