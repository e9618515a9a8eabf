package awskms

import (
	"net/http"

	"github.com/keyrotor/keyrotor/core/provider"
)

// rule says what an error of AWS means to the host.
type rule struct {
	code      provider.Code
	attribute string // of the provider block, for InvalidConfig
	advice    string
}

const (
	adviceDenied     = "the policies of the key or of the identity do not allow that"
	adviceState      = "the key cannot be used in its state: look at it in AWS"
	adviceStore      = "the custom key store behind the key does not work"
	adviceCredential = "the credentials are wrong or expired, or this machine's clock is"
)

// rules are the errors that AWS KMS publishes for its operations, each of them, and those
// that all of AWS's services have in common. Some belong to operations that are not used
// here; they have their place all the same, for the list of what an operation answers has
// grown before.
func rules() map[string]rule {
	return map[string]rule{
		// Of AWS KMS.
		"AlreadyExistsException":                                  {provider.AlreadyExists, "", "it is left as it is"},
		"CloudHsmClusterInUseException":                           {provider.InvalidState, "", adviceStore},
		"CloudHsmClusterInvalidConfigurationException":            {provider.InvalidState, "", adviceStore},
		"CloudHsmClusterNotActiveException":                       {provider.InvalidState, "", adviceStore},
		"CloudHsmClusterNotFoundException":                        {provider.InvalidState, "", adviceStore},
		"CloudHsmClusterNotRelatedException":                      {provider.InvalidState, "", adviceStore},
		"ConflictException":                                       {provider.InvalidState, "", "an automatic rotation of the key is under way, or begins within 20 minutes: wait for it, then run `keyrotor kek rewrap NAME`"},
		"CustomKeyStoreHasCMKsException":                          {provider.InvalidState, "", adviceStore},
		"CustomKeyStoreInvalidStateException":                     {provider.InvalidState, "", adviceStore},
		"CustomKeyStoreNameInUseException":                        {provider.AlreadyExists, "", ""},
		"CustomKeyStoreNotFoundException":                         {provider.InvalidState, "", adviceStore},
		"DependencyTimeoutException":                              {provider.Unavailable, "", ""},
		"DisabledException":                                       {provider.InvalidState, "", "enable the key with `aws kms enable-key`"},
		"DryRunOperationException":                                {provider.Internal, "", "no dry run was asked for"},
		"ExpiredImportTokenException":                             {provider.InvalidArgument, "", ""},
		"IncorrectKeyException":                                   {provider.Integrity, "", "the wrap is by another key than the one that it is recorded under"},
		"IncorrectKeyMaterialException":                           {provider.InvalidArgument, "", ""},
		"IncorrectTrustAnchorException":                           {provider.InvalidArgument, "", ""},
		"InvalidAliasNameException":                               {provider.InvalidConfig, attrKeyID, ""},
		"InvalidArnException":                                     {provider.InvalidConfig, attrKeyID, ""},
		"InvalidCiphertextException":                              {provider.Integrity, "", "the wrap was altered, or is bound to something else"},
		"InvalidGrantIdException":                                 {provider.InvalidArgument, "", ""},
		"InvalidGrantTokenException":                              {provider.InvalidArgument, "", ""},
		"InvalidImportTokenException":                             {provider.InvalidArgument, "", ""},
		"InvalidKeyUsageException":                                {provider.InvalidConfig, attrKeyID, "name a symmetric encryption key"},
		"InvalidMarkerException":                                  {provider.InvalidArgument, "", ""},
		"KMSInternalException":                                    {provider.Unavailable, "", ""},
		"KMSInvalidMacException":                                  {provider.Integrity, "", ""},
		"KMSInvalidSignatureException":                            {provider.Integrity, "", ""},
		"KMSInvalidStateException":                                {provider.InvalidState, "", adviceState},
		"KeyUnavailableException":                                 {provider.Unavailable, "", ""},
		"LimitExceededException":                                  {provider.LimitExceeded, "", "no waiting lifts that: AWS rotates a key 25 times on demand, and after that it takes a new key and `keyrotor key migrate`; other limits are in Service Quotas"},
		"MalformedPolicyDocumentException":                        {provider.InvalidArgument, "", ""},
		"NotFoundException":                                       {provider.NotFoundKey, "", ""},
		"TagException":                                            {provider.InvalidArgument, "", ""},
		"UnsupportedOperationException":                           {provider.Unsupported, "", "AWS does not do that with a key of this kind, or in this region"},
		"XksKeyAlreadyInUseException":                             {provider.AlreadyExists, "", ""},
		"XksKeyInvalidConfigurationException":                     {provider.InvalidState, "", adviceStore},
		"XksKeyNotFoundException":                                 {provider.InvalidState, "", adviceStore},
		"XksProxyIncorrectAuthenticationCredentialException":      {provider.InvalidState, "", adviceStore},
		"XksProxyInvalidConfigurationException":                   {provider.InvalidState, "", adviceStore},
		"XksProxyInvalidResponseException":                        {provider.Unavailable, "", adviceStore},
		"XksProxyUriEndpointInUseException":                       {provider.InvalidState, "", adviceStore},
		"XksProxyUriInUseException":                               {provider.InvalidState, "", adviceStore},
		"XksProxyUriUnreachableException":                         {provider.Unavailable, "", adviceStore},
		"XksProxyVpcEndpointServiceInUseException":                {provider.InvalidState, "", adviceStore},
		"XksProxyVpcEndpointServiceInvalidConfigurationException": {provider.InvalidState, "", adviceStore},
		"XksProxyVpcEndpointServiceNotFoundException":             {provider.InvalidState, "", adviceStore},

		// Of all services. Some have two spellings, with and without "Exception".
		"AccessDenied":                        {provider.Denied, "", adviceDenied},
		"AccessDeniedException":               {provider.Denied, "", adviceDenied},
		"NotAuthorized":                       {provider.Denied, "", adviceDenied},
		"OptInRequired":                       {provider.Denied, "", "the account is not signed up for AWS KMS in this region"},
		"ExpiredToken":                        {provider.Unauthenticated, "", adviceCredential},
		"ExpiredTokenException":               {provider.Unauthenticated, "", adviceCredential},
		"IncompleteSignature":                 {provider.Unauthenticated, "", adviceCredential},
		"IncompleteSignatureException":        {provider.Unauthenticated, "", adviceCredential},
		"InvalidClientTokenId":                {provider.Unauthenticated, "", adviceCredential},
		"InvalidSignatureException":           {provider.Unauthenticated, "", adviceCredential},
		"MissingAuthenticationToken":          {provider.Unauthenticated, "", adviceCredential},
		"MissingAuthenticationTokenException": {provider.Unauthenticated, "", adviceCredential},
		"RequestExpired":                      {provider.Unauthenticated, "", adviceCredential},
		"SignatureDoesNotMatch":               {provider.Unauthenticated, "", adviceCredential},
		"UnrecognizedClientException":         {provider.Unauthenticated, "", adviceCredential},
		"RequestLimitExceeded":                {provider.Throttled, "", ""},
		"RequestThrottled":                    {provider.Throttled, "", ""},
		"RequestThrottledException":           {provider.Throttled, "", ""},
		"SlowDown":                            {provider.Throttled, "", ""},
		"Throttling":                          {provider.Throttled, "", "the account has used up what it may ask in a second in this region"},
		"ThrottlingException":                 {provider.Throttled, "", "the account has used up what it may ask in a second in this region"},
		"ThrottledException":                  {provider.Throttled, "", ""},
		"TooManyRequestsException":            {provider.Throttled, "", ""},
		"InternalFailure":                     {provider.Unavailable, "", ""},
		"InternalServerError":                 {provider.Unavailable, "", ""},
		"RequestTimeout":                      {provider.Unavailable, "", ""},
		"RequestTimeoutException":             {provider.Unavailable, "", ""},
		"ServiceUnavailable":                  {provider.Unavailable, "", ""},
		"ServiceUnavailableException":         {provider.Unavailable, "", ""},
		"InvalidAction":                       {provider.InvalidArgument, "", ""},
		"MalformedHttpRequestException":       {provider.InvalidArgument, "", ""},
		"RequestAbortedException":             {provider.InvalidArgument, "", ""},
		"RequestEntityTooLargeException":      {provider.LimitExceeded, "", ""},
		"UnknownOperationException":           {provider.Unsupported, "", "whatever answers there does not know this operation"},
		"ValidationError":                     {provider.InvalidArgument, "", ""},
		"ValidationException":                 {provider.InvalidArgument, "", ""},
	}
}

// credentialRules are those of AWS STS and of what else hands out credentials, where they
// are others than above.
func credentialRules() map[string]rule {
	return map[string]rule{
		"AccessDenied":              {provider.Denied, "", "the role's trust policy does not let this identity in, or asks for another " + attrExternalID},
		"AccessDeniedException":     {provider.Denied, "", "the role's trust policy does not let this identity in, or asks for another " + attrExternalID},
		"IDPCommunicationError":     {provider.Unavailable, "", ""},
		"IDPRejectedClaim":          {provider.Unauthenticated, "", "the identity provider does not stand by the token"},
		"InvalidIdentityToken":      {provider.Unauthenticated, "", "the token in " + attrWebIdentityToken + " is not one that the role trusts"},
		"ExpiredTokenException":     {provider.Unauthenticated, "", "the token or the credentials have expired"},
		"ForbiddenException":        {provider.Denied, "", ""},
		"MalformedPolicyDocument":   {provider.InvalidArgument, "", ""},
		"PackedPolicyTooLarge":      {provider.LimitExceeded, "", ""},
		"RegionDisabledException":   {provider.InvalidConfig, attrRegion, "the account has not activated AWS STS in this region"},
		"UnauthorizedException":     {provider.Unauthenticated, "", "the session of the profile is over: log in again, for example with `aws sso login`"},
		"ResourceNotFoundException": {provider.Denied, "", ""},
	}
}

// ruleOfStatus is for an error that nobody has heard of.
func ruleOfStatus(status int, elsewhere bool) rule {
	switch {
	case status == http.StatusTooManyRequests:
		return rule{code: provider.Throttled}
	case status >= http.StatusInternalServerError:
		return rule{code: provider.Unavailable}
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired:
		return rule{code: provider.Unauthenticated, advice: "that is no answer of AWS: a proxy in between wants a credential"}
	case status == http.StatusForbidden:
		return rule{code: provider.Denied, advice: adviceDenied}
	case elsewhere && status == http.StatusNotFound, elsewhere && status == http.StatusMethodNotAllowed:
		return rule{code: provider.InvalidConfig, attribute: attrEndpoint, advice: "is that AWS?"}
	case status == http.StatusRequestEntityTooLarge:
		return rule{code: provider.LimitExceeded}
	default:
		return rule{code: provider.InvalidArgument}
	}
}
