package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/serve"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/config"
)

const (
	formatJSON = "json"
	formatText = "text"
)

// serveFlags are the flags of serve. What is not set is for the config file to say.
type serveFlags struct {
	interval        time.Duration
	listen          string
	shutdownTimeout time.Duration
	logFormat       choice
}

func (a *app) serveCommand() *cobra.Command {
	o := serveFlags{logFormat: newChoice("", formatText, formatJSON)}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Rotate keys when their policies say so, until told to stop",
		Long: `Run the scheduler as a daemon: look at the policies of all keys at each interval, and
rotate those that are due. Any number of these may run on one store, without a leader.

HTTP is served on the loopback interface: /healthz (leave the process alone), /readyz
(keys are rotated when they are due; JSON for those who accept it) and /metrics, for
Prometheus. There is no authentication and no TLS, and the metrics name keys: another
address than a loopback one is warned of. unix:PATH is a socket, "" is no server.

SIGHUP loads the config anew. Only if it can be opened whole, plugins and the first
check included, is it put in the place of the one that is in use; rotations under way
are finished by that one. Otherwise nothing changes, and the log says why.

SIGTERM and SIGINT stop it: checks end, rotations under way have --shutdown-timeout
to finish and are cancelled then, which leaves their keys as they were. The exit
code is 0. A second signal ends the process at once.

systemd is told by sd_notify: Type=notify, WatchdogSec= and 'systemctl reload' work.

Logs go to standard error at the level info, unless --log-level says otherwise: as text
to a terminal, else as JSON.`,
		Example: `  keyrotor serve --config /etc/keyrotor/keyrotor.hcl
  keyrotor serve --interval 30s --listen unix:/run/keyrotor/http.sock
  keyrotor serve --listen "" --log-format text --log-level debug`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.serve(cmd, o) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&o.interval, "interval", 0, "look at all keys this often, a `DURATION` (default: the config's, or 1m)")
	flags.StringVar(&o.listen, "listen", "", "serve HTTP at this `ADDRESS` (default: the config's, or "+config.DefaultListen+")")
	flags.DurationVar(&o.shutdownTimeout, "shutdown-timeout", serve.DefaultShutdownTimeout, "what rotations under way are given at a stop, a `DURATION`")
	flags.Var(&o.logFormat, "log-format", "the form of the log (default: text on a terminal, else json)")
	completeChoice(cmd, "log-format", &o.logFormat)
	return cmd
}

func (a *app) serve(cmd *cobra.Command, o serveFlags) error {
	c, err := a.serveConfig(cmd, o)
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	// Whoever reads the log may go away. Unless somebody listens for the signal, the next
	// line would end the process.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	c.Reload = reload
	ctx := cmd.Context()
	if err := serve.Run(ctx, c); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.As(cause, new(signalError)) {
		return cause // --timeout was over
	}
	return nil
}

// serveConfig reads the flags, and makes the log what they say.
func (a *app) serveConfig(cmd *cobra.Command, o serveFlags) (serve.Config, error) {
	given := cmd.Flags().Changed
	if err := config.CheckInterval(o.interval); given("interval") && err != nil {
		return serve.Config{}, misuse(cmd, "--interval %v", err)
	}
	if o.shutdownTimeout <= 0 {
		return serve.Config{}, misuse(cmd, "--shutdown-timeout must be more than 0")
	}
	if err := config.CheckListen(o.listen); err != nil {
		return serve.Config{}, misuse(cmd, "--listen %v", err)
	}
	if a.JSON && o.logFormat.value == formatText {
		return serve.Config{}, misuse(cmd, "--log-format text beside -o json, which has everything in JSON")
	}
	path, err := a.configPath()
	if err != nil {
		return serve.Config{}, err
	}
	a.logToServe(cmd, o.logFormat.value)
	c := serve.Config{
		Path: path, Version: a.version, ShutdownTimeout: o.shutdownTimeout,
		Opener: core.Opener{Log: a.log, Interval: o.interval, Reattach: a.reattach},
	}
	if given("listen") {
		c.Listen = &o.listen
	}
	return c, nil
}

// logToServe chooses the form and the level of a log that nobody watches.
func (a *app) logToServe(cmd *cobra.Command, format string) {
	a.JSON = a.JSON || format == formatJSON || format == "" && !a.Watched()
	name := a.global.logLevel.value
	if !cmd.Flags().Changed("log-level") {
		name = "info"
	}
	if level, ok := logLevels()[name]; ok { // else it is off
		a.log = a.Logger(level)
	}
}
