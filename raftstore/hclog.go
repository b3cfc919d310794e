package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// hcLog lets raft log through slog.
type hcLog struct {
	logger  *slog.Logger
	name    string
	implied []any
}

func newHCLog(l *slog.Logger) hclog.Logger { return &hcLog{logger: l, name: "raft"} }

func level(l hclog.Level) slog.Level {
	switch {
	case l <= hclog.Debug:
		return slog.LevelDebug
	case l == hclog.Info:
		return slog.LevelInfo
	case l == hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

func (h *hcLog) Log(l hclog.Level, msg string, args ...any) {
	h.logger.With("part", h.name).With(h.implied...).Log(context.Background(), level(l), msg, formatted(args)...)
}

// formatted carries out what hclog.Fmt only notes.
func formatted(args []any) []any {
	out := slices.Clone(args)
	for i, a := range out {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if verb, ok := f[0].(string); ok {
				out[i] = fmt.Sprintf(verb, f[1:]...)
			}
		}
	}
	return out
}

func (h *hcLog) Trace(string, ...any)          {}
func (h *hcLog) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hcLog) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hcLog) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hcLog) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hcLog) enabled(l hclog.Level) bool {
	return h.logger.Enabled(context.Background(), level(l))
}

func (h *hcLog) IsTrace() bool { return false }
func (h *hcLog) IsDebug() bool { return h.enabled(hclog.Debug) }
func (h *hcLog) IsInfo() bool  { return h.enabled(hclog.Info) }
func (h *hcLog) IsWarn() bool  { return h.enabled(hclog.Warn) }
func (h *hcLog) IsError() bool { return h.enabled(hclog.Error) }

func (h *hcLog) ImpliedArgs() []any { return h.implied }

func (h *hcLog) With(args ...any) hclog.Logger {
	next := *h
	next.implied = append(append([]any(nil), h.implied...), args...)
	return &next
}

func (h *hcLog) Name() string { return h.name }

func (h *hcLog) Named(name string) hclog.Logger { return h.ResetNamed(h.name + "." + name) }

func (h *hcLog) ResetNamed(name string) hclog.Logger {
	next := *h
	next.name = name
	return &next
}

func (h *hcLog) SetLevel(hclog.Level) {} // the level is slog's

func (h *hcLog) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Warn} {
		if h.enabled(l) {
			return l
		}
	}
	return hclog.Error
}

func (h *hcLog) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(o), "", 0)
}

func (h *hcLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(h.logger.Handler(), slog.LevelInfo).Writer()
}
