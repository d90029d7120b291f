using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Headers;

namespace ObjectStore.S3.Tests.Headers;

public sealed class HeaderTests
{
    [Theory]
    [InlineData("/bucket/key", "bucket", "key", null)]
    [InlineData("bucket/a/b", "bucket", "a/b", null)]
    [InlineData("bucket/a%2Fb%20c?versionId=v1", "bucket", "a/b c", "v1")]
    [InlineData("%2Fbucket%2Fkey", "bucket", "key", null)]
    [InlineData("bucket/a?b", "bucket", "a?b", null)]
    [InlineData("bucket//a+b", "bucket", "/a+b", null)]
    public void TryParse_OfCopySource_FindsItsParts(string header, string bucket, string key, string? versionId)
    {
        Assert.True(CopySource.TryParse(header, out CopySource source, out _));
        Assert.Equal(new CopySource(bucket, key, versionId), source);
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("bucket")]
    [InlineData("bucket/")]
    [InlineData("bucket/%zz")]
    [InlineData("bucket/k?versionId=")]
    public void TryParse_OfCopySourceThatIsMalformed_ReturnsInvalidArgument(string header)
    {
        Assert.False(CopySource.TryParse(header, out _, out S3Error? error));
        Assert.Same(S3ErrorCode.InvalidArgument, error!.Code);
    }

    [Theory]
    [InlineData("aws-chunked", null)]
    [InlineData("aws-chunked,gzip", "gzip")]
    [InlineData("gzip, aws-chunked", "gzip")]
    [InlineData("gzip", "gzip")]
    [InlineData(null, null)]
    public void StoredContentEncoding_LeavesOutAwsChunked(string? header, string? expected) => Assert.Equal(expected, ObjectHeaders.StoredContentEncoding(header));

    [Theory]
    [InlineData(2048, true)]
    [InlineData(2049, false)]
    public void ValidateUserMetadata_AllowsUpTo2048Bytes(int sizeBytes, bool allowed) =>
        Assert.Equal(allowed, ObjectHeaders.ValidateUserMetadata([new("ab", new string('x', sizeBytes - 2))]) is null);

    [Theory]
    [InlineData("d41d8cd98f00b204e9800998ecf8427e")]
    [InlineData("d41d8cd98f00b204e9800998ecf8427e-10000")]
    public void ToString_OfETag_IsWhatWasParsed(string text)
    {
        Assert.True(ETag.TryParse($"\"{text}\"", out ETag etag));
        Assert.Equal(text, etag.ToString());
        Assert.Equal($"\"{text}\"", etag.ToQuotedString());
    }

    [Fact]
    public void TryRead_OfRequestChecksum_FollowsS3()
    {
        Assert.True(Read(out RequestChecksum none, out _));
        Assert.Null(none.Algorithm);
        Assert.True(Read(out RequestChecksum header, out _, ("x-amz-checksum-crc32", "y/Q5Jg==")));
        Assert.Null(RequestChecksum.Verify(header.Expected!.Value, IncrementalChecksum.Compute(ChecksumAlgorithm.Crc32, "123456789"u8)));
        Assert.Same(S3ErrorCode.BadDigest, RequestChecksum.Verify(header.Expected!.Value, IncrementalChecksum.Compute(ChecksumAlgorithm.Crc32, "x"u8))!.Code);
        Assert.True(Read(out RequestChecksum trailer, out _, ("x-amz-trailer", "x-amz-checksum-crc64nvme"), ("x-amz-sdk-checksum-algorithm", "CRC64NVME")));
        Assert.True(trailer.IsTrailer);
        Assert.False(Read(out _, out S3Error? error, ("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "y/Q5Jg==")));
        Assert.Same(S3ErrorCode.InvalidRequest, error!.Code);
        Assert.False(Read(out _, out error, ("x-amz-checksum-crc32", "bad")));
        Assert.Equal("Value for x-amz-checksum-crc32 header is invalid.", error!.Message);
        Assert.False(Read(out _, out error, ("content-md5", "bad")));
        Assert.Same(S3ErrorCode.InvalidDigest, error!.Code);
    }

    [Fact]
    public void FullObject_OfMultipartChecksum_IsThatOfTheWhole()
    {
        byte[] whole = new byte[3000];
        new Random(3).NextBytes(whole);
        foreach (ChecksumAlgorithm algorithm in new[] { ChecksumAlgorithm.Crc32, ChecksumAlgorithm.Crc32C, ChecksumAlgorithm.Crc64Nvme })
        {
            ChecksumValue a = IncrementalChecksum.Compute(algorithm, whole.AsSpan(0, 1000));
            ChecksumValue b = IncrementalChecksum.Compute(algorithm, whole.AsSpan(1000));
            Assert.Equal(IncrementalChecksum.Compute(algorithm, whole), MultipartChecksum.FullObject(algorithm, [(a, 1000), (b, 2000)]));
        }
    }

    [Fact]
    public void Composite_OfMultipartChecksum_HashesTheValuesAndCountsTheParts()
    {
        ChecksumValue a = IncrementalChecksum.Compute(ChecksumAlgorithm.Sha256, "a"u8);
        ChecksumValue b = IncrementalChecksum.Compute(ChecksumAlgorithm.Sha256, "b"u8);
        byte[] expected = System.Security.Cryptography.SHA256.HashData([.. a.Bytes, .. b.Bytes]);
        Assert.Equal(Convert.ToBase64String(expected) + "-2", MultipartChecksum.Composite(ChecksumAlgorithm.Sha256, [a, b]).ToString());
    }

    private static bool Read(out RequestChecksum checksum, out S3Error? error, params (string Name, string Value)[] headers) => RequestChecksum.TryRead(
        name => headers.FirstOrDefault(header => header.Name == name).Value, out checksum, out error);
}
