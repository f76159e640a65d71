package cluster

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// serfLog hands lines of Serf and memberlist on, within bounds: strangers can provoke them.
type serfLog struct {
	log *slog.Logger
	mu  struct {
		sync.Mutex
		since  time.Time // when the present second began
		lines  int       // in it
		others int       // not logged, since the last that was
	}
}

// Write takes one line.
func (l *serfLog) Write(line []byte) (int, error) {
	level, text := parseLogLine(string(line))
	if !l.log.Enabled(context.Background(), level) {
		return len(line), nil
	}
	if others, ok := l.admit(time.Now()); ok {
		var args []any
		if others > 0 {
			args = []any{"others", others}
		}
		l.log.Log(context.Background(), level, text, args...)
	}
	return len(line), nil
}

// admit says whether one more line is to be logged, and how many were not before it.
func (l *serfLog) admit(now time.Time) (others int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.mu.since) >= time.Second {
		l.mu.since, l.mu.lines = now, 0
	}
	if l.mu.lines == serfLinesMax {
		l.mu.others++
		return 0, false
	}
	l.mu.lines++
	others, l.mu.others = l.mu.others, 0
	return others, true
}

// parseLogLine finds the level in a line as Serf and memberlist write it: "[WARN] serf: text". A few have none, and are errors.
func parseLogLine(line string) (slog.Level, string) {
	line = strings.TrimRight(line, "\n")
	if len(line) > serfLineSizeMax {
		line = line[:serfLineSizeMax] + "..."
	}
	mark, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	if !ok {
		return slog.LevelError, line
	}
	switch mark {
	case "DEBUG", "TRACE":
		return slog.LevelDebug, text
	case "INFO":
		return slog.LevelInfo, text
	case "WARN":
		return slog.LevelWarn, text
	case "ERR", "ERROR":
		return slog.LevelError, text
	}
	return slog.LevelError, line
}
