package sdk

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// orphanTimeout bounds how long a plugin outlives its host to close instances.
const orphanTimeout = 50 * time.Millisecond

// openLifeline opens the descriptor that the variable names. It answers nil if
// the host passed none; such a plugin ends by signal or by the host's request.
func openLifeline(fd string) (io.Reader, error) {
	if fd == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(fd, 10, 31)
	if err != nil || n < 3 {
		return nil, fmt.Errorf("%s=%q is not the number of an inherited file descriptor", wire.LifelineEnv, fd)
	}
	f := os.NewFile(uintptr(n), "lifeline")
	if f == nil {
		return nil, fmt.Errorf("%s=%s: no such file descriptor", wire.LifelineEnv, fd)
	}
	if _, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", wire.LifelineEnv, fd, err)
	}
	return f, nil
}

// endWithHost ends the process as soon as the lifeline does.
//
// A process that is stopped (SIGSTOP, a debugger, a frozen container) cannot see
// that. If it loses its host meanwhile, the kernel continues it where the host was
// the last of its session who could have; elsewhere it stays until it is continued
// or killed, idle but with its credentials in memory, and ends the moment it goes
// on. Pdeathsig would not wait for that, but it follows the thread that started the
// plugin instead of the host, and leaves no time to close the instances.
func endWithHost(lifeline io.Reader, server *wire.Server) {
	_, _ = io.Copy(io.Discard, lifeline)
	closeWithin(server, orphanTimeout)
	os.Exit(1)
}

// ignoreTerminalSignals leaves it to the host what a signal to the terminal's or
// the service's whole process group means; the lifeline ends the plugin after
// it. go-plugin swallows the interrupt too, and only that.
func ignoreTerminalSignals() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// closeWithin closes the instances, but does not wait for one that hangs.
func closeWithin(server *wire.Server, d time.Duration) {
	closed := make(chan struct{})
	go func() {
		server.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(d):
	}
}
