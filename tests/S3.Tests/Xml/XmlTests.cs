using System.Buffers;
using System.Text;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Headers;
using ObjectStore.S3.Xml;

namespace ObjectStore.S3.Tests.Xml;

public sealed class XmlTests
{
    private static readonly DateTime Time = new(2026, 11, 21, 5, 6, 7, 8, DateTimeKind.Utc);
    private static readonly ETag Tag = new(Convert.FromHexString("d41d8cd98f00b204e9800998ecf8427e"), 2);

    [Fact]
    public void Contents_WhenKeyNeedsEscaping_EscapesItAsS3Does()
    {
        string xml = List(urlEncoded: false, "a<b>&\"\n\u0001日\r");
        Assert.Contains("<Key>a&lt;b&gt;&amp;&quot;&#xa;&#x1;日&#xd;</Key>", xml);
        Assert.Contains("<LastModified>2026-11-21T05:06:07.008Z</LastModified>", xml);
        Assert.Contains("<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag>", xml);
        Assert.Contains("<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>9223372036854775807</Size>", xml);
    }

    [Fact]
    public void Contents_WhenUrlEncoded_EncodesNamesAndSaysSo()
    {
        string xml = List(urlEncoded: true, "a b/\u0001日");
        Assert.Contains("<Key>a%20b/%01%E6%97%A5</Key>", xml);
        Assert.Contains("<EncodingType>url</EncodingType>", xml);
    }

    [Fact]
    public void End_OfListing_LeavesAWellFormedDocumentOfManyRows()
    {
        ArrayBufferWriter<byte> output = new(16);
        ObjectListingWriter writer = ObjectListingWriter.BeginV2(output, new ObjectListing { Bucket = "b", KeyCount = 5000, IsTruncated = true, NextContinuationToken = "t" });
        for (int i = 0; i < 5000; i++) writer.Contents(Row(Encoding.UTF8.GetBytes($"key-{i}&")));
        writer.CommonPrefix("p/"u8);
        writer.End();
        System.Xml.Linq.XDocument document = System.Xml.Linq.XDocument.Parse(Encoding.UTF8.GetString(output.WrittenSpan));
        System.Xml.Linq.XNamespace s3 = "http://s3.amazonaws.com/doc/2006-03-01/";
        Assert.Equal(s3 + "ListBucketResult", document.Root!.Name);
        Assert.Equal(Enumerable.Range(0, 5000).Select(i => $"key-{i}&"), document.Root.Elements(s3 + "Contents").Select(row => row.Element(s3 + "Key")!.Value));
    }

    [Fact]
    public void Error_WritesCodeMessageDetailsResourceAndRequestId()
    {
        ArrayBufferWriter<byte> output = new();
        ResponseXml.Error(output, S3Error.NoSuchKey("a&b") with { Resource = "/b/a&b", RequestId = "R1" });
        Assert.Equal(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a&amp;b</Key><Resource>/b/a&amp;b</Resource><RequestId>R1</RequestId></Error>",
            Encoding.UTF8.GetString(output.WrittenSpan));
    }

    [Theory]
    [InlineData(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"")]
    [InlineData("")]
    [InlineData(" xmlns=\"urn:other\"")]
    public void Delete_WhenNamespaceVaries_ReadsTheObjects(string ns)
    {
        DeleteRequest request = RequestXml.Delete(Encoding.UTF8.GetBytes(
            $"<?xml version=\"1.0\"?><Delete{ns}><Quiet>true</Quiet><Object><Key> a&amp;&#x1;</Key><VersionId>v</VersionId></Object>\n<Object><Key>b</Key></Object></Delete>"));
        Assert.True(request.Quiet);
        Assert.Equal([new DeleteEntry(" a&\u0001", "v", null), new DeleteEntry("b", null, null)], request.Entries);
    }

    [Theory]
    [InlineData("")]
    [InlineData("<Delete></Delete>")]
    [InlineData("<Delete><Object></Object></Delete>")]
    [InlineData("<Delete><Object><Key>a</Key></Object>")]
    [InlineData("<Other><Object><Key>a</Key></Object></Other>")]
    [InlineData("<!DOCTYPE a [<!ENTITY x \"y\">]><Delete><Object><Key>&x;</Key></Object></Delete>")]
    [InlineData("<Delete><Object><Key>a<b/></Key></Object></Delete>")]
    [InlineData("<Delete><Object><Key>a</Key></Object></Delete><x/>")]
    public void Delete_WhenBodyIsMalformed_ThrowsMalformedXml(string body) =>
        Assert.Same(S3ErrorCode.MalformedXML, Assert.Throws<S3Exception>(() => RequestXml.Delete(Encoding.UTF8.GetBytes(body))).Error.Code);

    [Fact]
    public void Delete_WhenMoreThanThousandKeys_ThrowsMalformedXml()
    {
        static byte[] Body(int count) => Encoding.UTF8.GetBytes("<Delete>" + string.Concat(Enumerable.Repeat("<Object><Key>a</Key></Object>", count)) + "</Delete>");
        Assert.Equal(1000, RequestXml.Delete(Body(1000)).Entries.Count);
        Assert.Same(S3ErrorCode.MalformedXML, Assert.Throws<S3Exception>(() => RequestXml.Delete(Body(1001))).Error.Code);
    }

    [Fact]
    public void CompleteMultipartUpload_ReadsNumbersTagsAndChecksums()
    {
        IReadOnlyList<CompletedPart> parts = RequestXml.CompleteMultipartUpload(
            "<CompleteMultipartUpload><Part><ETag>\"abc\"</ETag><PartNumber>1</PartNumber><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part><Part><PartNumber>3</PartNumber><ETag>d</ETag></Part></CompleteMultipartUpload>"u8.ToArray());
        Assert.Equal([1, 3], parts.Select(part => part.PartNumber));
        Assert.Equal("abc", parts[0].ETag);
        Assert.Equal([new(ChecksumAlgorithm.Crc32C, "AAAAAA==")], parts[0].Checksums);
    }

    [Theory]
    [InlineData("<Part><ETag>a</ETag><PartNumber>2</PartNumber></Part><Part><ETag>a</ETag><PartNumber>1</PartNumber></Part>", "InvalidPartOrder")]
    [InlineData("<Part><ETag>a</ETag><PartNumber>1</PartNumber></Part><Part><ETag>a</ETag><PartNumber>1</PartNumber></Part>", "InvalidPartOrder")]
    [InlineData("<Part><ETag>a</ETag><PartNumber>0</PartNumber></Part>", "MalformedXML")]
    [InlineData("<Part><ETag>a</ETag><PartNumber>10001</PartNumber></Part>", "MalformedXML")]
    [InlineData("<Part><PartNumber>1</PartNumber></Part>", "MalformedXML")]
    [InlineData("", "MalformedXML")]
    public void CompleteMultipartUpload_WhenPartsAreWrong_Throws(string parts, string code) => Assert.Equal(code, Assert.Throws<S3Exception>(
        () => RequestXml.CompleteMultipartUpload(Encoding.UTF8.GetBytes($"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"))).Error.Code.Code);

    [Fact]
    public void CreateBucketConfiguration_ReadsTheLocation()
    {
        Assert.Equal("eu-west-1", RequestXml.CreateBucketConfiguration("<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"u8.ToArray()));
        Assert.Null(RequestXml.CreateBucketConfiguration("<CreateBucketConfiguration/>"u8.ToArray()));
        Assert.Null(RequestXml.CreateBucketConfiguration(default));
    }

    [Fact]
    public void All_OfErrorCodes_HaveTheNameOfTheirField() => Assert.All(
        typeof(S3ErrorCode).GetFields(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Static),
        field => Assert.Equal(field.Name, ((S3ErrorCode)field.GetValue(null)!).Code));

    private static ObjectRow Row(ReadOnlySpan<byte> key) => new()
    {
        Key = key,
        LastModified = Time,
        ETag = Tag,
        Size = long.MaxValue,
        StorageClass = "STANDARD"u8,
        ChecksumAlgorithm = ChecksumAlgorithm.Crc64Nvme,
    };

    private static string List(bool urlEncoded, string key)
    {
        ArrayBufferWriter<byte> output = new();
        ObjectListingWriter writer = ObjectListingWriter.BeginV1(output, new ObjectListing { Bucket = "b", IsUrlEncoded = urlEncoded });
        writer.Contents(Row(Encoding.UTF8.GetBytes(key)));
        writer.End();
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }
}
