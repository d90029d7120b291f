using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.Metadata;
using ObjectStore.Testing;

namespace ObjectStore.Grains.Tests;

public class MultipartTests(SharedCluster shared) : GrainTest(shared)
{
    private const long FiveMiB = 5L << 20;

    [Fact]
    public async Task Create_WhenBucketIsGone_ReturnsFalse()
    {
        UploadInfo upload = NewUpload() with { Bucket = new BucketId(999_999) };
        Assert.False(await Cluster.Upload(upload.UploadId).CreateAsync(upload));
    }

    [Fact]
    public async Task Parts_AreListedInOrder_AndReplacedByNumber()
    {
        IMultipartUploadGrain grain = await BeginAsync(NewUpload());
        PartLayout replaced = Make.Part(2, 10);
        foreach (PartLayout part in (PartLayout[])[Make.Part(3, 10), replaced, Make.Part(1, 10), Make.Part(2, 20)])
            Assert.True(await grain.PutPartAsync(new UploadPart(part, 1)));

        ImmutableArray<UploadPart>? parts = await grain.ListPartsAsync(0, 10);
        Assert.Equal([1, 2, 3], parts!.Value.Select(part => part.Layout.PartNumber));
        Assert.Equal(20, parts.Value[1].Layout.LengthBytes);
        Assert.Equal([2], (await grain.ListPartsAsync(1, 1))!.Value.Select(part => part.Layout.PartNumber));
        Assert.Empty((await grain.ListPartsAsync(3, 10))!.Value);
        Assert.Contains(await Store.ListGarbageAsync(long.MaxValue, int.MaxValue), garbage => garbage.Extent == replaced);
    }

    [Fact]
    public async Task Complete_MakesTheObject_WithTheETagOfTheParts()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload);
        await grain.PutPartAsync(new UploadPart(Make.Part(1, FiveMiB), 1));
        PartLayout unlisted = Make.Part(2, FiveMiB);
        await grain.PutPartAsync(new UploadPart(unlisted, 1));
        await grain.PutPartAsync(new UploadPart(Make.Part(7, 3), 1));

        CompleteResult result = await grain.CompleteAsync(Complete(upload, 1, 7));
        Assert.Equal(CompleteStatus.Committed, result.Status);
        byte[] md5s = [.. MD5.HashData("part 1"u8), .. MD5.HashData("part 7"u8)];
        Assert.Equal($"{Convert.ToHexStringLower(MD5.HashData(md5s))}-2", result.Version!.ETag.ToString());

        ObjectVersion read = (await this["key"].ReadAsync(null))!;
        Assert.Equal(upload.UploadId, read.VersionId);
        Assert.Equal(FiveMiB + 3, read.SizeBytes);
        Assert.Equal([1, 7], read.Parts.Select(part => part.PartNumber));
        Assert.Equal("text/plain", read.Headers.ContentType);
        Assert.Null(await grain.GetAsync());
        Assert.Null(await grain.ListPartsAsync(0, 10));
        Assert.False(await grain.PutPartAsync(new UploadPart(Make.Part(1, 1), 1)));
        Assert.Contains(await Store.ListGarbageAsync(long.MaxValue, int.MaxValue), garbage => garbage.Extent == unlisted);
    }

    [Fact]
    public async Task Complete_Again_IsCommittedAgain_WhileTheObjectIsTheUploads()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, 1);
        CompleteCommand complete = Complete(upload, 1, 2);
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(complete)).Status);

        CompleteResult again = await grain.CompleteAsync(complete);
        Assert.Equal(CompleteStatus.Committed, again.Status);
        Assert.Equal(upload.UploadId, again.Version!.VersionId);
        Assert.Equal(1, Store.CountInserts(upload.UploadId));

        await this["key"].PutAsync(Make.Put());
        Assert.Equal(CompleteStatus.NoSuchUpload, (await grain.CompleteAsync(complete)).Status);
    }

    [Fact]
    public async Task Complete_WhenTheStoresReplyIsLost_IsOneWrite()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, 1);
        FaultOnce(call => call.Method == "Commit", new StoreFault { LoseReply = new MetadataStoreException("lost") });

        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1, 2))).Status);
        Assert.Equal(1, Store.CountInserts(upload.UploadId));
    }

    [Fact]
    public async Task Complete_OfAnUploadThatIsNotThisKeys_ReturnsNoSuchUpload()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 1);

        Assert.Equal(CompleteStatus.NoSuchUpload, (await grain.CompleteAsync(Complete(upload, 1) with { Key = "other" })).Status);
        Assert.Equal(CompleteStatus.NoSuchUpload, (await Cluster.Upload(Make.Id()).CompleteAsync(Complete(upload, 1))).Status);
        Assert.Equal(CompleteStatus.NoSuchUpload, (await Cluster.Grains.GetGrain<IMultipartUploadGrain>("nonsense").CompleteAsync(Complete(upload, 1))).Status);
        Assert.Null(await Cluster.Grains.GetGrain<IMultipartUploadGrain>("nonsense").GetAsync());
        Assert.NotNull(await grain.GetAsync());
    }

    [Fact]
    public async Task Complete_WithPartsOutOfOrder_ReturnsInvalidPartOrder()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, FiveMiB);

        Assert.Equal(CompleteStatus.InvalidPartOrder, (await grain.CompleteAsync(Complete(upload, 2, 1))).Status);
        Assert.Equal(CompleteStatus.InvalidPartOrder, (await grain.CompleteAsync(Complete(upload, 1, 1))).Status);
    }

    [Fact]
    public async Task Complete_WhenPartMissingOrAnother_ReturnsInvalidPart()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, FiveMiB);

        Assert.Equal(new CompleteResult(CompleteStatus.InvalidPart, null, 3), await grain.CompleteAsync(Complete(upload, 1, 3)));
        Assert.Equal(CompleteStatus.InvalidPart, (await grain.CompleteAsync(Complete(upload))).Status);
        CompleteCommand wrongETag = Complete(upload, 1, 2) with { Parts = [new(1, Make.ETag("part 1").ToString(), null), new(2, Make.ETag("else").ToString(), null)] };
        Assert.Equal(new CompleteResult(CompleteStatus.InvalidPart, null, 2), await grain.CompleteAsync(wrongETag));
        CompleteCommand wrongChecksum = Complete(upload, 1, 2) with { Parts = [new(1, Make.ETag("part 1").ToString(), "AAAAAA=="), new(2, Make.ETag("part 2").ToString(), null)] };
        Assert.Equal(new CompleteResult(CompleteStatus.InvalidPart, null, 1), await grain.CompleteAsync(wrongChecksum));
        Assert.NotNull(await grain.GetAsync());
    }

    [Fact]
    public async Task Complete_WithASmallPartThatIsNotTheLast_ReturnsEntityTooSmall()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, FiveMiB - 1, FiveMiB);

        Assert.Equal(new CompleteResult(CompleteStatus.EntityTooSmall, null, 2), await grain.CompleteAsync(Complete(upload, 1, 2, 3)));
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1, 2))).Status);
    }

    [Fact]
    public async Task Complete_OfMoreThan5TiB_ReturnsEntityTooLarge()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 5L << 40, 1);

        Assert.Equal(CompleteStatus.EntityTooLarge, (await grain.CompleteAsync(Complete(upload, 1, 2))).Status);
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1))).Status);
    }

    [Fact]
    public async Task Complete_WithAnotherSize_ReturnsBadDigest()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 10);

        Assert.Equal(CompleteStatus.BadDigest, (await grain.CompleteAsync(Complete(upload, 1) with { ExpectedSizeBytes = 11 })).Status);
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1) with { ExpectedSizeBytes = 10 })).Status);
    }

    [Fact]
    public async Task Complete_WithConditions_ReturnsWhatThePutWould()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 10);
        Assert.Equal(CompleteStatus.NoSuchKey, (await grain.CompleteAsync(Complete(upload, 1) with { Condition = Make.IfMatch("x") })).Status);
        await this["key"].PutAsync(Make.Put("x"));
        Assert.Equal(CompleteStatus.PreconditionFailed, (await grain.CompleteAsync(Complete(upload, 1) with { Condition = Make.IfAbsent })).Status);
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1) with { Condition = Make.IfMatch("x") })).Status);
    }

    [Fact]
    public async Task Complete_WhenBucketGoes_ReturnsNoSuchBucketOrNoSuchUpload()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 10);

        // The upload is read, then the bucket goes before the commit.
        FaultOnce(call => call.Method == "Commit", new StoreFault { Meanwhile = () => Store.DeleteBucketAsync(Bucket, 0).AsTask().GetAwaiter().GetResult() });
        Assert.Equal(CompleteStatus.NoSuchBucket, (await grain.CompleteAsync(Complete(upload, 1))).Status);
        Assert.Equal(CompleteStatus.NoSuchUpload, (await grain.CompleteAsync(Complete(upload, 1))).Status);
    }

    [Fact]
    public async Task Complete_WhenTheUploadWasAbortedMeanwhile_ReturnsNoSuchUpload()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 10);
        FaultOnce(call => call.Method == "Commit", new StoreFault { Meanwhile = () => Store.AbortUploadAsync(upload.UploadId, 0).AsTask().GetAwaiter().GetResult() });

        Assert.Equal(CompleteStatus.NoSuchUpload, (await grain.CompleteAsync(Complete(upload, 1))).Status);
        Assert.Null(await this["key"].ReadAsync(null));
    }

    [Fact]
    public async Task Complete_WhenAPartWasReplacedMeanwhile_IsOfTheNewOneOrRefused()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, FiveMiB, 10);
        PartLayout same = Make.Part(1, FiveMiB);
        FaultOnce(call => call.Method == "Commit", Replacing(upload, same));
        CompleteResult result = await grain.CompleteAsync(Complete(upload, 1, 2));
        Assert.Equal(CompleteStatus.Committed, result.Status);
        Assert.Equal(same, result.Version!.Parts[0]);
        await NothingOfTheNewestIsGarbageAsync();

        // The client named the one that was there before.
        UploadInfo second = NewUpload();
        grain = await BeginAsync(second, 10);
        FaultOnce(call => call.Method == "Commit", Replacing(second, Make.Part(1, 10, Make.ETag("another"))));
        Assert.Equal(new CompleteResult(CompleteStatus.InvalidPart, null, 1), await grain.CompleteAsync(Complete(second, 1)));
        Assert.NotNull(await grain.GetAsync());
        await NothingOfTheNewestIsGarbageAsync();
    }

    [Fact]
    public async Task Complete_WhenAPartIsReplacedEachTime_GivesUp()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload, 10);
        int commits = 0;
        Store.OnCall = call => call.Method == "Commit" && ++commits > 0 ? Replacing(upload, Make.Part(1, 10)) : null;
        await Assert.ThrowsAsync<MetadataStoreException>(() => grain.CompleteAsync(Complete(upload, 1)));
        Assert.Equal(5, commits);
        Store.OnCall = null;
        Assert.Equal(CompleteStatus.Committed, (await grain.CompleteAsync(Complete(upload, 1))).Status);
        await NothingOfTheNewestIsGarbageAsync();
    }

    [Fact]
    public async Task Complete_WithACompositeChecksum_IsTheHashOfTheParts()
    {
        UploadInfo upload = NewUpload() with { ChecksumAlgorithm = "SHA256", ChecksumIsComposite = true };
        IMultipartUploadGrain grain = await BeginAsync(upload);
        byte[] first = SHA256.HashData("1"u8);
        byte[] second = SHA256.HashData("2"u8);
        await grain.PutPartAsync(new UploadPart(Make.Part(1, FiveMiB, checksum: new("SHA256", false, Convert.ToBase64String(first))), 1));
        await grain.PutPartAsync(new UploadPart(Make.Part(2, 1, checksum: new("SHA256", false, Convert.ToBase64String(second))), 1));
        string expected = Convert.ToBase64String(SHA256.HashData([.. first, .. second]));

        Assert.Equal(CompleteStatus.BadDigest, (await grain.CompleteAsync(Complete(upload, 1, 2) with { ExpectedChecksum = Convert.ToBase64String(first) + "-2" })).Status);
        CompleteResult result = await grain.CompleteAsync(Complete(upload, 1, 2) with { ExpectedChecksum = expected + "-2" });
        Assert.Equal(new ObjectChecksum("SHA256", true, expected + "-2"), result.Version!.Checksum);
    }

    [Theory]
    [InlineData("CRC32")]
    [InlineData("CRC32C")]
    [InlineData("CRC64NVME")]
    public async Task Complete_WithAFullObjectChecksum_IsTheChecksumOfAllBytes(string algorithm)
    {
        Crc crc = algorithm switch { "CRC32" => Crc.Crc32, "CRC32C" => Crc.Crc32C, _ => Crc.Crc64Nvme };
        UploadInfo upload = NewUpload() with { ChecksumAlgorithm = algorithm };
        IMultipartUploadGrain grain = await BeginAsync(upload);
        byte[] bytes = new byte[FiveMiB + 9];
        new Random(1).NextBytes(bytes);
        await grain.PutPartAsync(new UploadPart(Make.Part(1, FiveMiB, checksum: new(algorithm, false, Base64(crc, bytes.AsSpan(0, (int)FiveMiB)))), 1));
        await grain.PutPartAsync(new UploadPart(Make.Part(2, 9, checksum: new(algorithm, false, Base64(crc, bytes.AsSpan((int)FiveMiB)))), 1));
        string expected = Base64(crc, bytes);

        Assert.Equal(CompleteStatus.BadDigest, (await grain.CompleteAsync(Complete(upload, 1, 2) with { ExpectedChecksum = Base64(crc, [1]) })).Status);
        CompleteResult result = await grain.CompleteAsync(Complete(upload, 1, 2) with { ExpectedChecksum = expected });
        Assert.Equal(new ObjectChecksum(algorithm, false, expected), result.Version!.Checksum);
    }

    [Fact]
    public async Task Complete_OfTenThousandParts_ReadsThemInPages()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload);
        await Task.WhenAll(Enumerable.Range(1, 10_000).Select(number =>
            Store.PutPartAsync(upload.UploadId, new UploadPart(Make.Part(number, FiveMiB, Make.ETag("part")), 1), 0).AsTask()));
        string etag = Make.ETag("part").ToString();

        CompleteResult result = await grain.CompleteAsync(Complete(upload) with { Parts = [.. Enumerable.Range(1, 10_000).Select(number => new CompletedPart(number, etag, null))] });
        Assert.Equal(CompleteStatus.Committed, result.Status);
        Assert.Equal(10_000, result.Version!.ETag.PartCount);
        Assert.Equal(10_000 * FiveMiB, (await this["key"].ReadAsync(null))!.SizeBytes);
    }

    [Fact]
    public async Task Complete_WhileTheSamePartIsPutAgain_IsOfOneOfThem()
    {
        for (int round = 0; round < 10; round++)
        {
            UploadInfo upload = NewUpload();
            IMultipartUploadGrain grain = await BeginAsync(upload, 10);
            PartLayout late = Make.Part(1, 20);
            Task<bool> put = grain.PutPartAsync(new UploadPart(late, 2));
            Task<CompleteResult> complete = grain.CompleteAsync(Complete(upload, 1));
            CompleteResult result = await complete;

            Assert.Equal(CompleteStatus.Committed, result.Status);
            bool isRecorded = await put;
            Assert.Equal(isRecorded, result.Version!.Parts[0] == late);
        }
    }

    [Fact]
    public async Task Abort_EndsTheUpload_AndMakesItsPartsGarbage()
    {
        UploadInfo upload = NewUpload();
        IMultipartUploadGrain grain = await BeginAsync(upload);
        PartLayout part = Make.Part(1, 10);
        await grain.PutPartAsync(new UploadPart(part, 1));

        Assert.True(await grain.AbortAsync());
        Assert.False(await grain.AbortAsync());
        Assert.Null(await grain.GetAsync());
        Assert.Equal(CompleteStatus.NoSuchUpload, (await grain.CompleteAsync(Complete(upload, 1))).Status);
        Assert.Contains(await Store.ListGarbageAsync(long.MaxValue, int.MaxValue), garbage => garbage.Extent == part);
    }

    [Fact]
    public async Task Directory_ListsOpenUploadsByKeyThenId()
    {
        UploadInfo[] uploads = [NewUpload() with { Key = "b" }, NewUpload() with { Key = "a" }, NewUpload() with { Key = "a" }];
        foreach (UploadInfo upload in uploads)
            await BeginAsync(upload);
        IUploadDirectoryGrain directory = Cluster.Grains.GetGrain<IUploadDirectoryGrain>(Bucket.ToString());

        Assert.Equal([uploads[1].UploadId, uploads[2].UploadId, uploads[0].UploadId], (await directory.ListAsync("", "", null, 10)).Select(upload => upload.UploadId));
        Assert.Equal([uploads[2].UploadId], (await directory.ListAsync("", "a", uploads[1].UploadId, 1)).Select(upload => upload.UploadId));
        Assert.Equal([uploads[0].UploadId], (await directory.ListAsync("", "a", null, 10)).Select(upload => upload.UploadId));
    }

    private StoreFault Replacing(UploadInfo upload, PartLayout part) =>
        new() { Meanwhile = () => Task.Run(async () => Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 2), 0))).GetAwaiter().GetResult() };

    private async Task NothingOfTheNewestIsGarbageAsync()
    {
        HashSet<PartLayout> garbage = [.. (await Store.ListGarbageAsync(long.MaxValue, int.MaxValue)).Select(item => item.Extent)];
        Assert.DoesNotContain((await Store.ReadNewestAsync(Bucket, "key"))!.Parts, garbage.Contains);
    }

    private static string Base64(Crc crc, ReadOnlySpan<byte> bytes)
    {
        byte[] check = new byte[crc.LengthBytes];
        crc.Write(crc.Compute(bytes), check);
        return Convert.ToBase64String(check);
    }

    private UploadInfo NewUpload() =>
        new(Make.Id(), Bucket, "key", "owner", 1, "STANDARD", new ObjectHeaders { ContentType = "text/plain" }, null, false);

    /// <summary>Begins an upload and puts parts 1, 2, … of these lengths.</summary>
    private async Task<IMultipartUploadGrain> BeginAsync(UploadInfo upload, params long[] lengthsBytes)
    {
        IMultipartUploadGrain grain = Cluster.Upload(upload.UploadId);
        Assert.True(await grain.CreateAsync(upload));
        for (int i = 0; i < lengthsBytes.Length; i++)
            Assert.True(await grain.PutPartAsync(new UploadPart(Make.Part(i + 1, lengthsBytes[i]), 1)));
        return grain;
    }

    private CompleteCommand Complete(UploadInfo upload, params int[] parts) =>
        new(upload.Bucket, upload.Key, [.. parts.Select(number => new CompletedPart(number, Make.ETag($"part {number}").ToString(), null))], null, null, null);
}
