using System.Diagnostics.CodeAnalysis;
using ObjectStore.S3.Signing;

namespace ObjectStore.Benchmarks.S3;

/// <summary>Verifies the header signature of a small PUT, the signing key in the cache.</summary>
public sealed class SigV4Verify : Benchmark
{
    private const string Path = "/bucket/folder/object-0000012345";
    private readonly SigV4HeaderList _headers = new();
    private readonly SigV4Verifier _verifier = new(new OneKey(), TimeProvider.System);

    public override string Name => "S3.SigV4Verify";

    public override void Setup()
    {
        _headers.Add("Host", "127.0.0.1:9000");
        new SigV4Signer("key", "secret").SignHeaders("PUT", Path, "", _headers, SigV4Signer.HashPayload([1]), DateTimeOffset.UtcNow);
    }

    public override void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            SigV4Request request = new() { Method = "PUT", RawPath = Path, Headers = _headers };
            if (!_verifier.Verify(request).IsSuccess) throw new InvalidOperationException("The signature does not verify.");
        }
    }

    private sealed class OneKey : ICredentialStore
    {
        private readonly SecretKey _secret = new("secret");

        public bool TryGetSecret(string accessKey, [NotNullWhen(true)] out SecretKey? secret)
        {
            secret = _secret;
            return true;
        }
    }
}
