using ObjectStore.S3.Checksums;

namespace ObjectStore.Conformance.Tests.BadInput;

public sealed class BodyTests(ServerFixture server) : BadInputTest(server)
{
    [Theory]
    [InlineData(1000, 1001)]
    [InlineData(300_000, 400_000)]
    public async Task ABodyShorterThanDeclared_StoresNothing(int sent, int declared)
    {
        // The connection is half closed: the server may answer IncompleteBody or only close it.
        RawRequest request = new("PUT", $"/{Bucket}/key") { Body = RandomBytes(sent), ContentSha256 = "UNSIGNED-PAYLOAD", DeclaredLength = declared };
        try
        {
            RawAnswer answer = await Server.Raw.SendAsync(request);
            Assert.Equal((400, "IncompleteBody"), (answer.Status, answer.Code));
        }
        catch (IOException)
        {
        }

        await NothingStoredAsync();
    }

    [Fact]
    public Task ABodyLongerThanDeclared_DoesNotMatchItsHash() =>
        RefusedAsync(400, "XAmzContentSHA256Mismatch", new RawRequest("PUT", $"/{Bucket}/key") { Body = RandomBytes(1000), DeclaredLength = 999 });

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    [InlineData(700_000)]
    public async Task AClientThatVanishesMidBody_LeavesNothingVisible(int sent)
    {
        RawRequest request = new("PUT", $"/{Bucket}/key") { Body = RandomBytes(1_000_000), ContentSha256 = "UNSIGNED-PAYLOAD" };
        await Server.Raw.SendAndVanishAsync(request, sent);
        await NothingStoredAsync();
    }

    [Fact]
    public async Task AClientThatVanishesMidBody_LeavesTheOldObject()
    {
        await PutAsync("key", [1, 2, 3]);
        await Server.Raw.SendAndVanishAsync(new RawRequest("PUT", $"/{Bucket}/key") { Body = RandomBytes(1_000_000), ContentSha256 = "UNSIGNED-PAYLOAD" }, 500_000);
        Assert.Equal([1, 2, 3], await GetBytesAsync("key"));
    }

    [Fact]
    public Task NoLength_IsMissingContentLength() => RefusedAsync(411, "MissingContentLength", new RawRequest("PUT", $"/{Bucket}/key")
    {
        ContentSha256 = "UNSIGNED-PAYLOAD",
        Body = Encoding.ASCII.GetBytes("3\r\nabc\r\n0\r\n\r\n"),
        Spoil = headers =>
        {
            headers["content-length"] = null;
            headers.Add("Transfer-Encoding", "chunked");
        },
    });

    [Fact]
    public Task ABadChunkSignature_IsSignatureDoesNotMatch() =>
        RefusedAsync(403, "SignatureDoesNotMatch", ChunkedBodies.Put($"/{Bucket}/key", RandomBytes(200_000), signed: true, null, body => body[^1000] ^= 1));

    [Fact]
    public Task AChunkedBodyThatIsCut_IsIncompleteBody()
    {
        RawRequest request = ChunkedBodies.Put($"/{Bucket}/key", RandomBytes(200_000), signed: true, null);
        Func<ObjectStore.S3.Signing.SigV4Seed, byte[]> whole = request.ChunkedBody!;
        return RefusedAsync(400, "IncompleteBody", request with { ChunkedBody = seed => whole(seed)[..150_000] });
    }

    [Theory]
    [InlineData("CRC32")]
    [InlineData("CRC32C")]
    [InlineData("CRC64NVME")]
    [InlineData("SHA1")]
    [InlineData("SHA256")]
    public async Task ABadChecksum_IsBadDigest(string name)
    {
        Assert.True(ChecksumAlgorithms.TryFromName(name, out ObjectStore.S3.Checksums.ChecksumAlgorithm algorithm));
        byte[] body = RandomBytes(1000);
        string wrong = IncrementalChecksum.Compute(algorithm, [1]).ToString();
        await RefusedAsync(400, "BadDigest", new RawRequest("PUT", $"/{Bucket}/key") { Body = body, Headers = [(algorithm.HeaderName(), wrong)] });
        await RefusedAsync(400, "BadDigest", ChunkedBodies.Put($"/{Bucket}/key", body, signed: false, (algorithm.HeaderName(), wrong)));
        await RefusedAsync(400, "BadDigest", ChunkedBodies.Put($"/{Bucket}/key", body, signed: true, (algorithm.HeaderName(), wrong)));
    }

    [Fact]
    public Task AChecksumThatIsNone_IsInvalidRequest() => RefusedAsync(
        400, "InvalidRequest", new RawRequest("PUT", $"/{Bucket}/key") { Body = [1], Headers = [("x-amz-checksum-crc32", "not base64")] });

    [Fact]
    public Task AWrongContentMd5_IsBadDigest() => RefusedAsync(400, "BadDigest", new RawRequest("PUT", $"/{Bucket}/key")
    {
        Body = RandomBytes(1000),
        Headers = [("Content-MD5", Convert.ToBase64String(new byte[16]))],
    });

    [Fact]
    public Task AContentMd5ThatIsNone_IsInvalidDigest() =>
        RefusedAsync(400, "InvalidDigest", new RawRequest("PUT", $"/{Bucket}/key") { Body = [1], Headers = [("Content-MD5", "xyz")] });

    [Fact]
    public Task MetadataLargerThan2KiB_IsMetadataTooLarge() => RefusedAsync(
        400, "MetadataTooLarge", new RawRequest("PUT", $"/{Bucket}/key") { Body = [1], Headers = [("x-amz-meta-a", new string('x', 2049))] });

    [Theory]
    [InlineData("")]
    [InlineData("<Delete>")]
    [InlineData("<Delete></Delete>")]
    [InlineData("<Other><Object><Key>a</Key></Object></Other>")]
    [InlineData("<!DOCTYPE a [<!ENTITY b \"c\">]><Delete><Object><Key>&b;</Key></Object></Delete>")]
    public async Task MalformedXmlOfDeleteObjects_IsMalformedXml(string xml)
    {
        byte[] body = Encoding.UTF8.GetBytes(xml);
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("POST", $"/{Bucket}", "delete=")
        {
            Body = body,
            Headers = [("Content-MD5", Convert.ToBase64String(System.Security.Cryptography.MD5.HashData(body)))],
        });
        Assert.Equal(400, answer.Status);
        Assert.Contains(answer.Code, xml.Length == 0 ? ["MalformedXML", "MissingRequestBodyError"] : new[] { "MalformedXML" });
        await NothingStoredAsync();
    }

    [Fact]
    public async Task DeleteObjectsOf1001Keys_IsMalformedXml()
    {
        string xml = $"<Delete>{string.Concat(Enumerable.Range(0, 1001).Select(i => $"<Object><Key>k{i}</Key></Object>"))}</Delete>";
        byte[] body = Encoding.UTF8.GetBytes(xml);
        await RefusedAsync(400, "MalformedXML", new RawRequest("POST", $"/{Bucket}", "delete=")
        {
            Body = body,
            Headers = [("Content-MD5", Convert.ToBase64String(System.Security.Cryptography.MD5.HashData(body)))],
        });
    }
}
