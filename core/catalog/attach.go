package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// ReattachVariable is the environment variable that holds a [Reattach] as JSON.
const ReattachVariable = wire.ReattachEnv

// debugTimeout is the deadline of a call to a plugin that may stand at a breakpoint.
const debugTimeout = time.Hour

// Reattach says which plugins not to start, by type, because a developer runs them
// with -debug. Nothing vouches for such a plugin: plugins.lock is not asked about it.
type Reattach map[string]wire.Attachment

// ParseReattach reads what plugins print when they are started with -debug.
func ParseReattach(text string) (Reattach, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var r Reattach
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("it is not what a plugin prints with -debug: %w", err)
	}
	if dec.More() || len(r) == 0 {
		return nil, errors.New("it is not what a plugin prints with -debug: one JSON object with at least one plugin")
	}
	for typ, a := range r {
		if !typePattern.MatchString(typ) {
			return nil, fmt.Errorf("%q is no plugin type: lower-case words joined by hyphens are", typ)
		}
		if err := checkAttachment(a); err != nil {
			return nil, fmt.Errorf("plugin %q: %w", typ, err)
		}
	}
	return r, nil
}

func checkAttachment(a wire.Attachment) error {
	switch want := wire.Handshake().ProtocolVersion; {
	case a.Protocol != "grpc" || a.ProtocolVersion != want:
		return fmt.Errorf("it speaks %q, version %d, and this build grpc, version %d", a.Protocol, a.ProtocolVersion, want)
	case a.TLS:
		return errors.New("it asks for TLS, which this build attaches without")
	case a.Network != "unix" || !filepath.IsAbs(a.Address):
		return fmt.Errorf("its address is %s %q, and not the absolute path of a unix socket", a.Network, a.Address)
	case a.PID <= 0:
		return fmt.Errorf("its process id is %d", a.PID)
	default:
		return nil
	}
}

// attach connects to a plugin that a developer runs, in place of launch. The process is
// not ours: it is neither ended nor killed, and when it goes, its connection shows it.
func attach(ctx context.Context, b binary) (_ *process, err error) {
	a := *b.attach
	b.log.Warn("ATTACHED TO A PLUGIN THAT A DEVELOPER RUNS: its binary is not verified and the connection is not encrypted; never use it with keys that matter",
		"pid", a.PID, "address", a.Address)
	p := &process{child: newAttached(b.typ, a.PID), configured: map[string]*configuration{}}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if err := checkSocket(a.Address); err != nil {
		return nil, attachError(b, err)
	}
	conn, err := grpc.NewClient("unix://"+a.Address, append(dialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, attachError(b, err)
	}
	watching, endWatch := context.WithCancel(context.Background())
	watched := make(chan struct{})
	p.closers = append(p.closers, func() {
		p.releaseAll()
		endWatch()
		<-watched
		_ = conn.Close()
	})
	go func() {
		defer close(watched)
		p.child.lost(watchConnection(watching, conn))
	}()
	p.client = wire.NewClient(conn)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if p.info, err = p.client.Info(ctx); err != nil {
		return nil, attachError(b, err)
	}
	if p.info.Name != b.typ {
		return nil, attachError(b, fmt.Errorf("it calls itself %q", p.info.Name))
	}
	p.started = time.Now()
	return p, nil
}

// releaseAll takes the credentials back from a process that goes on without us.
func (p *process) releaseAll() {
	ctx, cancel := context.WithTimeout(context.Background(), killAfter)
	defer cancel()
	p.mu.Lock()
	ids := slices.Collect(maps.Keys(p.configured))
	p.mu.Unlock()
	for _, id := range ids {
		_ = p.release(ctx, id) // whoever is gone has none any more
	}
}

func attachError(b binary, err error) error {
	return provider.Errorf(provider.PluginCrashed, "plugin %q, to which %s attaches: %s: start it again with -debug",
		b.typ, ReattachVariable, shorten(b.redact.text(err.Error())))
}

// checkSocket refuses a socket that somebody else may have put there.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is no socket", path)
	}
	return checkDir(filepath.Dir(path))
}

// watchConnection waits until a connection that stood is lost, or ctx is over.
func watchConnection(ctx context.Context, conn *grpc.ClientConn) string {
	stood := false
	for {
		now := conn.GetState()
		if stood && now != connectivity.Ready {
			return "connection lost"
		}
		stood = stood || now == connectivity.Ready
		if !conn.WaitForStateChange(ctx, now) {
			return "let go"
		}
	}
}
