using System.Buffers;
using System.Text;
using ObjectStore.S3.Headers;
using ObjectStore.S3.Xml;

namespace ObjectStore.Benchmarks.S3;

/// <summary>Writes a ListObjectsV2 page of 1,000 keys.</summary>
public sealed class ListingPage : Benchmark
{
    private const int Rows = 1000;
    private readonly ArrayBufferWriter<byte> _output = new(1 << 20);
    private readonly byte[][] _keys = [.. Enumerable.Range(0, Rows).Select(i => Encoding.UTF8.GetBytes($"folder/object-{i:d10}"))];
    private readonly ETag _etag = new(new byte[16]);

    public override string Name => "S3.ListingPage1000";

    public override void Run(long operations)
    {
        DateTime modified = DateTime.UtcNow;
        ObjectListing listing = new() { Bucket = "bucket", KeyCount = Rows };
        for (long i = 0; i < operations; i++)
        {
            _output.ResetWrittenCount();
            ObjectListingWriter writer = ObjectListingWriter.BeginV2(_output, listing);
            foreach (byte[] key in _keys)
            {
                writer.Contents(new ObjectRow { Key = key, LastModified = modified, ETag = _etag, Size = 12345, StorageClass = "STANDARD"u8 });
            }

            writer.End();
        }
    }
}
