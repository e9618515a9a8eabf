package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// LogConfig is where lines go: one of the two.
type LogConfig struct {
	// Log gets a line at the level that the type deserves.
	Log *slog.Logger
	// Path is a file to which a line of JSON, the CloudEvent, is appended and synced. It is
	// made with mode 0600, and opened for each line, so that it can be moved away.
	Path string
}

// NewLog makes a sender that writes lines.
func NewLog(c LogConfig) (Sender, error) {
	switch {
	case (c.Log == nil) == (c.Path == ""):
		return nil, errors.New("a log needs a logger or a path, and not both")
	case c.Log != nil:
		return logger{c.Log}, nil
	case !filepath.IsAbs(c.Path):
		return nil, fmt.Errorf("log %s: the path must be absolute", c.Path)
	}
	return &lines{path: c.Path}, nil
}

// logger writes to a slog.Logger.
type logger struct{ log *slog.Logger }

// Send writes one line.
func (l logger) Send(ctx context.Context, m Message) error {
	n := m.Notice
	attrs := []slog.Attr{slog.String("id", m.ID), slog.String("type", string(n.Type)), slog.Time("at", n.Time)}
	for _, a := range []struct{ name, value string }{
		{"key", n.Key},
		{"state_from", n.StateFrom},
		{"state_to", n.StateTo},
		{"reason", n.Reason},
		{"policy", n.Policy},
		{"actor", n.Actor},
		{"note", n.Note},
		{"provider", n.Provider},
		{"kek_version", n.KEKVersion},
		{"error_code", n.ErrorCode},
		{"operation_id", n.Operation},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	if n.NewVersion > 0 {
		attrs = append(attrs, slog.Uint64("version", uint64(n.NewVersion)))
	}
	if n.PreviousVersion > 0 {
		attrs = append(attrs, slog.Uint64("previous_version", uint64(n.PreviousVersion)))
	}
	if len(n.Details) > 0 {
		attrs = append(attrs, slog.Any("details", n.Details))
	}
	l.log.LogAttrs(ctx, n.Type.Level(), "keyrotor notice", attrs...)
	return nil
}

// Level is how loud the type is in a log: an error needs somebody, a warning will.
func (t Type) Level() slog.Level {
	switch t {
	case RotationFailed, VerifyFailed:
		return slog.LevelError
	case RotationDueSoon, UsageThreshold, ProviderDegraded, StoreRestored, MirrorLag:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// lines appends to a file.
type lines struct {
	path string
	mu   sync.Mutex
}

// Send appends one line, and returns when the disk has it.
func (l *lines) Send(_ context.Context, m Message) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line := make([]byte, 0, len(m.Body)+2)
	if torn, err := torn(f); err != nil {
		return err
	} else if torn { // somebody was killed, or had no room, while writing a line
		line = append(line, '\n')
	}
	if _, err := f.Write(append(append(line, m.Body...), '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// open opens the file, and makes it if it is not there.
func (l *lines) open() (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		if f, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
			err = syncFolder(filepath.Dir(l.path))
		}
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("log %s: it is no regular file", l.path))
	}
	return f, nil
}

// torn reports whether the file ends within a line.
func torn(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] != '\n', nil
}
