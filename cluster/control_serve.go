package cluster

import (
	"fmt"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// controlService is what answers requests.
type controlService interface {
	info(since uint64) gridInfo
	submit(command []byte) proposal
	survey(addrs []string) surveyAnswer
	promise(g Generation, founder string) error
	release(g Generation) error
}

// serveControl answers the requests on a stream until it ends.
func serveControl(c *Conn, service controlService) error {
	defer c.Close()
	s := newControlStream(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(controlIdle))
		kind, body, err := s.receive()
		if err != nil {
			return err
		}
		kind, answer, err := answerControl(c, service, kind, body)
		if err != nil {
			return err
		}
		_ = c.SetWriteDeadline(time.Now().Add(controlWrite))
		if err := s.send(kind, answer); err != nil {
			return err
		}
	}
}

// answerControl answers one request.
func answerControl(c *Conn, service controlService, kind controlMessage, body []byte) (controlMessage, []byte, error) {
	switch kind {
	case pullRequest:
		since, err := parsePull(body)
		if err != nil {
			return 0, nil, err
		}
		if c.Peer.Generation != c.transport.Identity().Generation {
			since = 0 // versions say nothing to a peer of another generation
		}
		return pullAnswer, appendInfo(nil, service.info(since)), nil
	case proposeRequest:
		p := proposal{Status: proposalNotTaken}
		if c.Peer.Generation == c.transport.Identity().Generation {
			p = service.submit(body)
		}
		return proposeAnswer, appendProposal(nil, p), nil
	case surveyRequest:
		addrs, err := parseSurvey(body)
		if err != nil {
			return 0, nil, err
		}
		return surveyAnswered, appendSurveyAnswer(nil, service.survey(addrs)), nil
	case promiseRequest:
		p, err := parsePromise(body)
		if err != nil {
			return 0, nil, err
		}
		reason := ""
		if err := service.promise(p.Generation, p.Founder); err != nil {
			reason = err.Error()
		}
		return promiseAnswered, appendPromiseAnswer(nil, reason, service.info(0)), nil
	case releaseRequest:
		p, err := parsePromise(body)
		if err == nil {
			err = service.release(p.Generation)
		}
		return releaseAnswered, nil, err
	}
	return 0, nil, fmt.Errorf("%w: a request of type %d", protocol.ErrFrame, kind)
}
