package awskms

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/keyrotor/keyrotor/providers/wipingbody"
)

// clients are AWS's services, as whom the block says. They are made at the first call, and
// anew when AWS no longer takes the credentials: their files may have changed.
type clients struct {
	kms         *kms.Client
	sts         *sts.Client
	credentials aws.CredentialsProvider
	region      string
	http        *http.Client
}

func (c *clients) close() {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// sender sends bodies from buffers of its own, see package wipingbody.
type sender struct{ aws.HTTPClient }

// Do implements [aws.HTTPClient].
func (s sender) Do(req *http.Request) (*http.Response, error) {
	body, err := wipingbody.Take(req)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.Body, out.GetBody = body, nil
	return s.HTTPClient.Do(out)
}

// newClients reads AWS's own configuration. It sends nothing.
func (s *settings) newClients(ctx context.Context) (*clients, error) {
	cfg, err := config.LoadDefaultConfig(ctx, s.options()...)
	if err != nil {
		return nil, s.loadError(err)
	}
	if cfg.Region == "" {
		return nil, configError(attrRegion, "neither this, nor an ARN in %s, nor AWS's own configuration names a region: set it", attrKeyID)
	}
	c := &clients{region: cfg.Region}
	// Frozen, so that one pool of connections can be closed with the instance.
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		frozen := b.Freeze()
		c.http, _ = frozen.(*http.Client)
		cfg.HTTPClient = sender{frozen}
	}
	if s.roleARN != "" {
		cfg.Credentials = aws.NewCredentialsCache(s.role(cfg))
	}
	c.credentials = cfg.Credentials
	c.kms, c.sts = kms.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	return c, nil
}

func (s *settings) options() []func(*config.LoadOptions) error {
	out := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithLogger(logging.Nop{}),
		config.WithAPIOptions([]func(*middleware.Stack) error{s.refuseShortSecrets}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.DisableCompression = true // an unpacked copy of a secret is one more in memory
			t.MaxIdleConnsPerHost = parallel
		})),
		config.WithServiceOptions(func(_ string, options any) {
			switch o := options.(type) {
			case *kms.Options:
				if s.endpoint != "" {
					o.BaseEndpoint = &s.endpoint
				}
			case *sts.Options:
				if s.stsEndpoint != "" {
					o.BaseEndpoint = &s.stsEndpoint
				}
			}
		}),
	}
	if s.region != "" {
		out = append(out, config.WithRegion(s.region))
	}
	if s.profile != "" {
		out = append(out, config.WithSharedConfigProfile(s.profile))
	}
	if s.configFile != "" {
		out = append(out, config.WithSharedConfigFiles([]string{s.configFile}))
	}
	if s.credentialsFile != "" {
		out = append(out, config.WithSharedCredentialsFiles([]string{s.credentialsFile}))
	}
	if s.fips {
		out = append(out, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
	}
	switch {
	case s.accessKeyID != "":
		out = append(out, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			s.accessKeyID, string(s.secretAccessKey.Reveal()), string(s.sessionToken.Reveal()),
		)))
	case s.tokenFile != "":
		// The token is all there is: not even a broken default chain matters.
		out = append(out, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	return out
}

// role answers credentials of the role, which are asked for when they are needed.
func (s *settings) role(cfg aws.Config) aws.CredentialsProvider {
	client := sts.NewFromConfig(cfg)
	if s.tokenFile != "" {
		return stscreds.NewWebIdentityRoleProvider(client, s.roleARN, stscreds.IdentityTokenFile(s.tokenFile),
			func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = s.sessionName })
	}
	return stscreds.NewAssumeRoleProvider(client, s.roleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = s.sessionName
		if s.externalID != "" {
			o.ExternalID = &s.externalID
		}
	})
}

// loadError is for AWS's own files.
func (s *settings) loadError(err error) error {
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return configError(attrProfile, "AWS's config and credentials files have no profile %q", s.profile)
	}
	if s.profile != "" {
		return configError(attrProfile, "AWS's configuration cannot be used: %w", err)
	}
	return configError(attrConfigFile, "AWS's configuration cannot be used: %w", err)
}
