package conformance

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
)

// onRotate replaces RotateKey.
func onRotate(do func(ctxt, everything, provider.RotateKeyRequest) (provider.RotateKeyResponse, error)) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, rotate: func(ctx ctxt, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
			return do(ctx, e, req)
		}}
	}
}

// onDescribed alters what DescribeKey answers.
func onDescribed(alter func(*provider.DescribeKeyResponse)) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, describe: func(ctx ctxt) (provider.DescribeKeyResponse, error) {
			d, err := e.DescribeKey(ctx)
			if err == nil {
				alter(&d)
			}
			return d, err
		}}
	}
}

// blindly rotates whatever the primary is.
func blindly(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	d, err := e.DescribeKey(ctx)
	if err != nil {
		return provider.RotateKeyResponse{}, err
	}
	req.ExpectedVersion = d.PrimaryVersion
	return e.RotateKey(ctx, req)
}

// onToy gives a hook the key manager and the file behind an instance.
func onToy(bend func(e everything, t *toy) *bent) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager { return bend(e, e.(*toy)) }
}

// everyRotation are the cases that rotate a key and look at it.
func everyRotation() []string {
	return []string{
		"rotate/moves-primary", "rotate/keeps-old-wraps", "rotate/racing", "rotate/same-request", "rotate/stale-version",
		"rotate/wraps-under-primary", "rewrap/newest-version", "context/canceled-midway", "context/over",
		"state/again", "state/destroyed", "state/disabled", "state/enabled-again",
	}
}

func rotateMutants() []mutant {
	return []mutant{
		{
			name:  "rotates on a stale version",
			fails: []string{"rotate/stale-version", "rotate/same-request"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				if racing(req) {
					return e.RotateKey(ctx, req) // or rotate/racing would find it out now and then
				}
				return blindly(ctx, e, req)
			}),
		},
		{
			name:  "looks at the version and then rotates",
			fails: []string{"rotate/racing"},
			bend: func(e everything) provider.KeyManager {
				var looked sync.WaitGroup
				looked.Add(4)
				return onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
					d, err := e.DescribeKey(ctx)
					if err != nil || d.PrimaryVersion != req.ExpectedVersion || !racing(req) {
						return e.RotateKey(ctx, req)
					}
					looked.Done()
					looked.Wait()
					for {
						res, err := blindly(ctx, e, req)
						if !errors.Is(err, provider.VersionChanged) {
							return res, err
						}
					}
				})(e)
			},
		},
		{
			name:  "answers a lost race with another code",
			fails: []string{"rotate/racing", "rotate/stale-version", "rotate/same-request"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(ctx, req)
				if provider.CodeOf(err) == provider.VersionChanged {
					err = provider.Errorf(provider.InvalidState, "somebody else rotated")
				}
				return res, err
			}),
		},
		{
			name: "forgets the old versions",
			fails: []string{
				"rotate/keeps-old-wraps", "rotate/moves-primary", "rotate/same-request", "rotate/racing", "rewrap/newest-version",
				"context/canceled-midway", "state/again", "state/disabled", "state/enabled-again", "state/destroyed",
			},
			bend: onToy(func(e everything, t *toy) *bent {
				return onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
					res, err := e.RotateKey(ctx, req)
					if err != nil {
						return res, err
					}
					return res, t.change(ctx, func(key *toyKey) error {
						key.Versions = []toyVersion{*key.primary()}
						return nil
					})
				})(e).(*bent)
			}),
		},
		{
			name:  "replaces the material of an old version",
			fails: []string{"rotate/keeps-old-wraps", "context/canceled-midway"},
			bend: onToy(func(e everything, t *toy) *bent {
				return onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
					res, err := e.RotateKey(ctx, req)
					if err != nil || req.RequestID != "rotate 2" {
						return res, err
					}
					return res, t.change(ctx, func(key *toyKey) error {
						key.Versions[0].Key = newRoot()
						return nil
					})
				})(e).(*bent)
			}),
		},
		{
			name: "disables the old version",
			fails: []string{
				"rotate/keeps-old-wraps", "rotate/moves-primary", "rotate/same-request", "rotate/racing", "rewrap/newest-version",
				"context/canceled-midway",
			},
			bend: onToy(func(e everything, t *toy) *bent {
				return onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
					res, err := e.RotateKey(ctx, req)
					if err != nil {
						return res, err
					}
					return res, t.change(ctx, func(key *toyKey) error {
						key.version(res.OldVersion).State = provider.KeyDisabled
						return nil
					})
				})(e).(*bent)
			}),
		},
		{
			name:  "answers that the primary moved and leaves it",
			fails: everyRotation(),
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				return provider.RotateKeyResponse{OldVersion: req.ExpectedVersion, NewVersion: "2"}, nil
			}),
		},
		{
			name:  "names another old version",
			fails: []string{"rotate/moves-primary"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(ctx, req)
				res.OldVersion = ""
				return res, err
			}),
		},
		{
			name:  "names another new version",
			fails: []string{"rotate/moves-primary"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(ctx, req)
				res.NewVersion = "v" + res.NewVersion
				return res, err
			}),
		},
		{
			name:  "is pending and names the new version",
			fails: []string{"rotate/moves-primary"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(ctx, req)
				res.Pending = err == nil
				return res, err
			}),
		},
		{
			name:  "rotates twice at a time",
			fails: []string{"rotate/moves-primary", "rotate/same-request", "rotate/racing"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(ctx, req)
				if err != nil {
					return res, err
				}
				second, err := blindly(ctx, e, req)
				res.NewVersion = second.NewVersion
				return res, err
			}),
		},
		{
			name:  "rotates again for the same request",
			fails: []string{"rotate/same-request"},
			bend: func(e everything) provider.KeyManager {
				var seen sync.Map
				return onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
					if old, again := seen.LoadOrStore(req.RequestID, req.ExpectedVersion); again && old == req.ExpectedVersion && ctx.Err() == nil {
						return blindly(ctx, e, req)
					}
					return e.RotateKey(ctx, req)
				})(e)
			},
		},
		{
			name: "names the version in the key's name",
			fails: []string{
				"rotate/moves-primary", "rotate/wraps-under-primary", "rotate/same-request", "rotate/racing",
			},
			bend: onDescribed(func(d *provider.DescribeKeyResponse) {
				if d.PrimaryVersion != "1" {
					d.KEKID += "/" + d.PrimaryVersion
				}
			}),
		},
		{
			name:  "goes on wrapping under the first version",
			fails: []string{"rotate/wraps-under-primary"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					for i := range results {
						if results[i].Err == nil {
							results[i].Wrapped.KEKVersion = "1"
						}
					}
					return results, err
				}, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					items = slices.Clone(items)
					for i := range items {
						if items[i].Wrapped.KEKVersion == "1" {
							items[i].Wrapped.KEKVersion = ""
						}
					}
					return e.Unwrap(ctx, items)
				}, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
					items = slices.Clone(items)
					for i := range items {
						if items[i].Wrapped.KEKVersion == "1" {
							items[i].Wrapped.KEKVersion = ""
						}
					}
					return e.Rewrap(ctx, items)
				}}
			},
		},
		{
			name:  "describes the first version as the primary",
			fails: everyRotation(),
			bend:  onDescribed(func(d *provider.DescribeKeyResponse) { d.PrimaryVersion = "1" }),
		},
		{
			name: "describes a key without its name",
			fails: []string{
				"describe/complete", "wrap/names-the-key", "unwrap/names-the-key", "unwrap/another-key", "generate/root", "rewrap/opens",
				"rotate/moves-primary", "rotate/wraps-under-primary", "create/answers",
			},
			bend: onDescribed(func(d *provider.DescribeKeyResponse) { d.KEKID = "" }),
		},
		{
			name: "describes no versions",
			fails: []string{
				"describe/complete", "create/answers", "rotate/moves-primary", "rotate/racing", "rotate/same-request",
				"state/again", "state/destroyed", "state/disabled", "state/enabled-again",
			},
			bend: onDescribed(func(d *provider.DescribeKeyResponse) { d.Versions = nil }),
		},
		{
			name:  "describes a version twice",
			fails: []string{"describe/complete", "create/answers", "rotate/moves-primary", "rotate/racing", "rotate/same-request"},
			bend: onDescribed(func(d *provider.DescribeKeyResponse) {
				d.Versions = append(d.Versions, d.Versions...)
			}),
		},
		{
			name:  "describes a key that is in use as disabled",
			fails: []string{"describe/complete", "rotate/moves-primary"},
			bend:  onDescribed(func(d *provider.DescribeKeyResponse) { d.State = provider.KeyDisabled }),
		},
		{
			name:  "describes no algorithm",
			fails: []string{"describe/complete", "rotate/moves-primary"},
			bend:  onDescribed(func(d *provider.DescribeKeyResponse) { d.Algorithm = "" }),
		},
		{
			name:  "says that its wraps ignore their AAD",
			fails: []string{"describe/complete", "rotate/moves-primary"},
			bend:  onDescribed(func(d *provider.DescribeKeyResponse) { d.IgnoresAAD = true }),
		},
		{
			name: "makes a version when it wraps",
			fails: []string{
				"describe/changes-nothing", "wrap/names-the-key", "rotate/wraps-under-primary", "create/twice",
				"state/disabled", "state/destroyed",
			},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					if err != nil {
						return nil, err
					}
					_, err = blindly(ctx, e, provider.RotateKeyRequest{})
					return results, err
				}}
			},
		},
	}
}

// racing reports whether a request comes from rotate/racing.
func racing(req provider.RotateKeyRequest) bool { return strings.HasPrefix(req.RequestID, "racer") }
