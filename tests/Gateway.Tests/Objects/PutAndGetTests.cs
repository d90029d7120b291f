using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using ObjectStore.Gateway.Tests.Fixtures;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Signing;
using ObjectStore.Storage.Drives;

namespace ObjectStore.Gateway.Tests.Objects;

/// <summary>Bodies of the sizes where the gateway and the volumes change their ways, in pieces that no client would choose.</summary>
public sealed class PutAndGetTests(GatewayFixture gateway) : GatewayTest(gateway), IClassFixture<GatewayFixture>
{
    // Nothing, a byte, one chunk, the buffered limit and one more, one block and one more, several blocks.
    private static readonly int[] Sizes = [0, 1, 65_536, 131_072, 131_073, 1 << 20, (1 << 20) + 1, 5 << 20];

    private static readonly int[][] Cuts = [[], [1, 2, 3, 5, 8, 13, 4096, 65_537], [65_535, 1, 2, 131_071]];

    public static TheoryData<int, int> SizesAndCuts => [.. from size in Sizes from cut in Enumerable.Range(0, Cuts.Length) select (size, cut)];

    public static TheoryData<int> AllSizes => [.. Sizes];

    [Theory, MemberData(nameof(SizesAndCuts))]
    public async Task Body_ComesBackAsItWasSent(int size, int cut)
    {
        byte[] body = GatewayFixture.RandomBytes(size);
        Exchange put = await Fixture.SendAsync(new Call("PUT", $"/{Bucket}/key") { Body = body, Segments = Cuts[cut] });
        Assert.Equal((200, 0), (put.Status, put.Body.Length));
        string etag = $"\"{Convert.ToHexStringLower(MD5.HashData(body))}\"";
        Assert.Equal(etag, put.Header("ETag"));

        Exchange get = await GetAsync("key");
        Assert.Equal((200, false), (get.Status, get.IsAborted));
        Assert.Equal(body, get.Body);
        Exchange head = await HeadAsync("key");
        Assert.Equal((200, 0), (head.Status, head.Body.Length));
        foreach (Exchange answer in new[] { get, head })
        {
            Assert.Equal((etag, size.ToString(CultureInfo.InvariantCulture), "bytes"), (answer.Header("ETag"), answer.Header("Content-Length"), answer.Header("Accept-Ranges")));
            Assert.NotNull(answer.Header("x-amz-request-id"));
        }
    }

    [Theory, MemberData(nameof(AllSizes))]
    public async Task ChunkedBody_ComesBackWithoutItsFraming(int size)
    {
        byte[] body = GatewayFixture.RandomBytes(size);
        foreach ((bool isSigned, bool hasTrailer) in new[] { (true, false), (true, true), (false, true) })
        {
            Exchange put = await Fixture.SendAsync(Chunked("key", body, isSigned, hasTrailer ? Crc32(body) : null) with { Segments = [1, 7, 63, 4093, 65_537] });
            Assert.True(put.Status == 200, $"signed {isSigned}, trailer {hasTrailer}: {put.Code}");
            Exchange get = await GetAsync("key", ("x-amz-checksum-mode", "ENABLED"));
            Assert.Equal(body, get.Body);
            Assert.Null(get.Header("Content-Encoding"));
            Assert.Equal(hasTrailer ? Crc32(body) : null, get.Header("x-amz-checksum-crc32"));
        }
    }

    [Theory]
    [InlineData(1_000)]
    [InlineData(300_000)]
    public async Task SpoiltBody_StoresNothing(int size)
    {
        byte[] body = GatewayFixture.RandomBytes(size);
        string wrongMd5 = Convert.ToBase64String(new byte[16]);
        (string Code, Call Call)[] spoilt =
        [
            ("XAmzContentSHA256Mismatch", Put(body) with { ContentSha256 = SigV4Signer.HashPayload("another"u8) }),
            ("BadDigest", Put(body) with { Headers = [("Content-MD5", wrongMd5)] }),
            ("BadDigest", Put(body) with { Headers = [("x-amz-checksum-crc32", "AAAAAA==")] }),
            ("SignatureDoesNotMatch", Chunked("key", body, true, null, framed => framed[framed.Length / 2] ^= 1)),
            ("SignatureDoesNotMatch", Chunked("key", body, true, Crc32(body), framed => framed[framed.Length / 2] ^= 1)),
            ("BadDigest", Chunked("key", body, true, "AAAAAA==")),
            ("BadDigest", Chunked("key", body, false, Crc32(body), framed => framed[framed.Length / 2] ^= 1)),
            ("BadDigest", Chunked("key", body, false, "AAAAAA==")),
        ];
        foreach ((string code, Call call) in spoilt)
        {
            DriveStatistics before = Fixture.Drive;
            Exchange put = await Fixture.SendAsync(call);
            Assert.Equal(code, put.Code);
            await StoredNothingAsync("key", before);
            Assert.Empty(Fixture.Extents.Stored);
        }
    }

    [Fact]
    public async Task SpoiltBody_LeavesTheVersionBefore()
    {
        await PutAsync("key", "before"u8.ToArray());
        Assert.Equal("BadDigest", (await PutAsync("key", "after"u8.ToArray(), ("Content-MD5", Convert.ToBase64String(new byte[16])))).Code);
        Assert.Equal("before"u8.ToArray(), (await GetAsync("key")).Body);
    }

    [Theory]
    [InlineData(1_000)]
    [InlineData(131_072)]
    [InlineData(131_073)]
    [InlineData(3 << 20)]
    public async Task BodyThatEndsEarlyOrLate_IsIncomplete_AndNothingIsVisible(int size)
    {
        byte[] body = GatewayFixture.RandomBytes(size);
        foreach (Call call in new[]
        {
            Put(body) with { DeclaredLength = size + 1 },
            Put(body) with { DeclaredLength = size - 1 },
            Put(body) with { DeclaredLength = 0 },
            Put(body) with { EndsIn = new Microsoft.AspNetCore.Connections.ConnectionResetException("reset") },
            Put(body) with { DeclaredLength = size + 10, EndsIn = new Microsoft.AspNetCore.Http.BadHttpRequestException("Unexpected end of request content.") },
            Chunked("key", body, true, null, cut: size / 2),
            Chunked("key", body, false, Crc32(body), cut: size / 2),
        })
        {
            DriveStatistics before = Fixture.Drive;
            Exchange put = await Fixture.SendAsync(call with { Segments = [100_000] });
            Assert.Equal((400, "IncompleteBody"), (put.Status, put.Code));
            Assert.Equal("close", put.Header("Connection"));
            await StoredNothingAsync("key", before);
        }
    }

    [Theory]
    [InlineData("x-amz-server-side-encryption", "AES256", "NotImplemented")]
    [InlineData("x-amz-server-side-encryption-customer-algorithm", "AES256", "NotImplemented")]
    [InlineData("x-amz-tagging", "a=b", "NotImplemented")]
    [InlineData("x-amz-grant-full-control", "id=1", "NotImplemented")]
    [InlineData("x-amz-object-lock-legal-hold", "ON", "NotImplemented")]
    [InlineData("x-amz-acl", "public-read", "AccessControlListNotSupported")]
    [InlineData("x-amz-storage-class", "FAST", "InvalidStorageClass")]
    public async Task HeaderThatIsNotDone_IsRefused_AndNothingIsStored(string name, string value, string code)
    {
        DriveStatistics before = Fixture.Drive;
        Assert.Equal(code, (await PutAsync("key", new byte[10], (name, value))).Code);
        await StoredNothingAsync("key", before);
        Assert.Empty(Fixture.Extents.Stored);
    }

    [Theory]
    [InlineData("x-amz-meta-a", "x\u0001y")]
    [InlineData("x-amz-meta-a", "x\u007fy")]
    [InlineData("Cache-Control", "no\u001fstore")]
    [InlineData("Content-Type", "text/\u0002x")]
    public async Task ValueThatNoResponseMayHold_IsRefused_AndNothingIsStored(string name, string value)
    {
        DriveStatistics before = Fixture.Drive;
        Assert.Equal("InvalidArgument", (await PutAsync("key", new byte[10], (name, value))).Code);
        await StoredNothingAsync("key", before);
        Assert.Empty(Fixture.Extents.Stored);
    }

    [Fact]
    public async Task HeadersAndStorageClass_ComeBack()
    {
        Exchange put = await PutAsync(
            "key", [1], ("Content-Type", "text/x"), ("Cache-Control", "no-store"), ("x-amz-meta-name", "v\u00e4lue"), ("x-amz-storage-class", "STANDARD_IA"));
        Assert.Equal(200, put.Status);
        foreach (Exchange answer in new[] { await GetAsync("key"), await HeadAsync("key") })
        {
            Assert.Equal(("text/x", "no-store", "v\u00e4lue", "STANDARD_IA"), (
                answer.Header("Content-Type"), answer.Header("Cache-Control"), answer.Header("x-amz-meta-name"), answer.Header("x-amz-storage-class")));
        }

        Assert.Equal(["STANDARD_IA"], (await Fixture.SendAsync(new Call("GET", $"/{Bucket}"))).Values("StorageClass"));
    }

    [Fact]
    public async Task StandardStorageClass_IsNotNamedInAHeader()
    {
        await PutAsync("key", [1]);
        Assert.Null((await HeadAsync("key")).Header("x-amz-storage-class"));
    }

    [Fact]
    public async Task VirtualHostStyle_ReachesTheSameObject()
    {
        Exchange put = await Fixture.SendAsync(new Call("PUT", "/folder/key") { Host = $"{Bucket}.s3.test", Body = [1, 2, 3] });
        Assert.Equal(200, put.Status);
        Assert.Equal([1, 2, 3], (await GetAsync("folder/key")).Body);
        Assert.Equal([1, 2, 3], (await Fixture.SendAsync(new Call("GET", "/folder/key") { Host = $"{Bucket}.s3.test:9000" })).Body);
        Assert.Equal(["folder/key"], (await Fixture.SendAsync(new Call("GET", "/", "list-type=2") { Host = $"{Bucket}.s3.test" })).Values("Key"));
    }

    private Call Put(byte[] body) => new("PUT", $"/{Bucket}/key") { Body = body };

    private static string Crc32(byte[] body)
    {
        using IncrementalChecksum checksum = new(ChecksumAlgorithm.Crc32);
        checksum.Append(body);
        return checksum.Finish().ToString();
    }

    private Call Chunked(string key, byte[] body, bool isSigned, string? crc32, Action<byte[]>? spoil = null, int? cut = null)
    {
        List<(string, string)> headers = [("Content-Encoding", "aws-chunked"), ("x-amz-decoded-content-length", body.Length.ToString(CultureInfo.InvariantCulture))];
        if (crc32 is not null) headers.Add(("x-amz-trailer", "x-amz-checksum-crc32"));
        return new Call("PUT", $"/{Bucket}/{key}")
        {
            Headers = headers,
            ContentSha256 = (isSigned, crc32 is not null) switch
            {
                (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                _ => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            },
            ChunkedBody = seed =>
            {
                ArrayBufferWriter<byte> output = new();
                AwsChunkedEncoder encoder = new(isSigned ? seed : null);
                for (int at = 0; at < body.Length; at += 65_536) encoder.WriteChunk(body.AsSpan(at, Math.Min(65_536, body.Length - at)), output);
                if (crc32 is not null) encoder.Finish(output, ("x-amz-checksum-crc32", crc32));
                else encoder.Finish(output);
                byte[] framed = output.WrittenSpan[..(cut ?? output.WrittenCount)].ToArray();
                spoil?.Invoke(framed);
                return framed;
            },
        };
    }
}
