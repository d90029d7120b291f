using System.Security.Cryptography;

namespace ObjectStore.Conformance.Tests.Server;

/// <summary>A test with a bucket of its own.</summary>
public abstract class ConformanceTest(ServerFixture server) : IAsyncLifetime
{
    /// <summary>The smallest part that is not the last.</summary>
    protected const int MinPartBytes = 5 << 20;

    /// <summary>The server.</summary>
    protected ServerFixture Server { get; } = server;

    /// <summary>The shared SDK client.</summary>
    protected AmazonS3Client S3 => Server.S3;

    /// <summary>A bucket that exists and is empty at the start of the test.</summary>
    protected string Bucket { get; } = NewBucketName();

    /// <summary>Cancelled when the run is.</summary>
    protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>A valid bucket name that nobody has.</summary>
    protected static string NewBucketName() => $"test-{Guid.NewGuid():n}";

    /// <inheritdoc/>
    public async ValueTask InitializeAsync() => await S3.PutBucketAsync(Bucket, Cancellation);

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }

    /// <summary>Bytes that follow from a seed.</summary>
    protected static byte[] RandomBytes(int count, int seed = 1)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    /// <summary>An entity tag as S3 makes it of a body sent at once.</summary>
    protected static string ETagOf(byte[] body) => $"\"{Convert.ToHexStringLower(MD5.HashData(body))}\"";

    /// <summary>PUT of bytes.</summary>
    protected Task<PutObjectResponse> PutAsync(string key, byte[] body, Action<PutObjectRequest>? configure = null)
    {
        PutObjectRequest request = new() { BucketName = Bucket, Key = key, InputStream = new MemoryStream(body) };
        configure?.Invoke(request);
        return S3.PutObjectAsync(request, Cancellation);
    }

    /// <summary>PUT of text.</summary>
    protected Task<PutObjectResponse> PutAsync(string key, string body = "content") => PutAsync(key, Encoding.UTF8.GetBytes(body));

    /// <summary>GET of a whole object's bytes.</summary>
    protected Task<byte[]> GetBytesAsync(string key) => GetBytesAsync(new GetObjectRequest { BucketName = Bucket, Key = key });

    /// <summary>GET of bytes.</summary>
    protected async Task<byte[]> GetBytesAsync(GetObjectRequest request)
    {
        using GetObjectResponse response = await S3.GetObjectAsync(request, Cancellation);
        return await ReadAsync(response);
    }

    /// <summary>The bytes of a response.</summary>
    protected static async Task<byte[]> ReadAsync(GetObjectResponse response)
    {
        using MemoryStream bytes = new();
        await response.ResponseStream.CopyToAsync(bytes, Cancellation);
        return bytes.ToArray();
    }

    /// <summary>Asserts that S3 refuses with this status and code.</summary>
    protected static async Task<AmazonS3Exception> RefusesAsync(HttpStatusCode status, string code, Func<Task> action)
    {
        AmazonS3Exception exception = await Assert.ThrowsAnyAsync<AmazonS3Exception>(action);
        Assert.Equal((status, code), (exception.StatusCode, exception.ErrorCode));
        return exception;
    }

    /// <summary>Asserts a refusal of HEAD, whose answer has no body and so no code.</summary>
    protected static async Task RefusesHeadAsync(HttpStatusCode status, Func<Task> action) =>
        Assert.Equal(status, (await Assert.ThrowsAnyAsync<AmazonS3Exception>(action)).StatusCode);

    /// <summary>The keys of the bucket.</summary>
    protected async Task<List<string>> ListKeysAsync(string prefix = "")
    {
        ListObjectsV2Response response = await S3.ListObjectsV2Async(new ListObjectsV2Request { BucketName = Bucket, Prefix = prefix }, Cancellation);
        return [.. (response.S3Objects ?? []).Select(entry => entry.Key)];
    }

    /// <summary>Creates an upload and returns its id.</summary>
    protected async Task<string> CreateUploadAsync(string key, Action<InitiateMultipartUploadRequest>? configure = null)
    {
        InitiateMultipartUploadRequest request = new() { BucketName = Bucket, Key = key };
        configure?.Invoke(request);
        return (await S3.InitiateMultipartUploadAsync(request, Cancellation)).UploadId;
    }

    /// <summary>Uploads one part.</summary>
    protected Task<UploadPartResponse> UploadPartAsync(string key, string uploadId, int partNumber, byte[] body, Action<UploadPartRequest>? configure = null)
    {
        UploadPartRequest request = new()
        {
            BucketName = Bucket,
            Key = key,
            UploadId = uploadId,
            PartNumber = partNumber,
            InputStream = new MemoryStream(body),
            PartSize = body.Length,
        };
        configure?.Invoke(request);
        return S3.UploadPartAsync(request, Cancellation);
    }

    /// <summary>Completes an upload.</summary>
    protected Task<CompleteMultipartUploadResponse> CompleteAsync(string key, string uploadId, params IEnumerable<PartETag> parts) =>
        S3.CompleteMultipartUploadAsync(
            new CompleteMultipartUploadRequest { BucketName = Bucket, Key = key, UploadId = uploadId, PartETags = [.. parts] }, Cancellation);
}
