using System.Diagnostics.CodeAnalysis;
using ObjectStore.S3.Signing;

namespace ObjectStore.S3.Tests.Signing;

/// <summary>The credentials, host and time of the examples in the Amazon S3 API Reference.</summary>
internal static class SigningFixture
{
    public const string AccessKey = "AKIAIOSFODNN7EXAMPLE";
    public const string Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    public const string Host = "examplebucket.s3.amazonaws.com";
    public const string EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    public static readonly DateTimeOffset Now = new(2013, 5, 24, 0, 0, 0, TimeSpan.Zero);

    public static SigV4Verifier Verifier(DateTimeOffset? now = null, SigV4Options? options = null, SecretKey? secret = null) =>
        new(new OneCredential(AccessKey, secret ?? new SecretKey(Secret)), new FixedTime(now ?? Now), options);

    public static SigV4HeaderList HeaderList(params (string Name, string Value)[] headers)
    {
        SigV4HeaderList list = new();
        foreach ((string name, string value) in headers) list.Add(name, value);
        return list;
    }

    public static SigV4Result Verify(
        this SigV4Verifier verifier, string method, string path, string query, SigV4HeaderList headers) =>
        verifier.Verify(new SigV4Request { Method = method, RawPath = path, RawQuery = query, Headers = headers });

    public static string Authorization(string signedHeaders, string signature) =>
        $"AWS4-HMAC-SHA256 Credential={AccessKey}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signedHeaders},Signature={signature}";

    public sealed class OneCredential(string accessKey, SecretKey secret) : ICredentialStore
    {
        public bool TryGetSecret(string candidate, [NotNullWhen(true)] out SecretKey? found)
        {
            found = candidate == accessKey ? secret : null;
            return found is not null;
        }
    }

    public sealed class FixedTime(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }
}
