using System.Globalization;
using System.Xml;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Xml;

/// <summary>An object of a Delete request.</summary>
/// <param name="Key">The key.</param>
/// <param name="VersionId">The version, or null.</param>
/// <param name="ETag">The entity tag the object must have, or null.</param>
public sealed record DeleteEntry(string Key, string? VersionId, string? ETag);

/// <summary>The body of DeleteObjects.</summary>
/// <param name="Entries">1 to 1,000 objects, in request order.</param>
/// <param name="Quiet">True when only errors are to be reported.</param>
public sealed record DeleteRequest(IReadOnlyList<DeleteEntry> Entries, bool Quiet);

/// <summary>A part of a CompleteMultipartUpload request.</summary>
/// <param name="PartNumber">1 to 10,000.</param>
/// <param name="ETag">The entity tag without quotes, as the client gave it.</param>
/// <param name="Checksums">The checksums given, in base64.</param>
public sealed record CompletedPart(int PartNumber, string ETag, IReadOnlyList<KeyValuePair<ChecksumAlgorithm, string>> Checksums);

/// <summary>
/// Readers of request bodies. Elements are matched by local name in any namespace or none; unknown elements are skipped. DTDs are prohibited. Every
/// reader throws <see cref="S3Exception"/> MalformedXML for a body that is not well-formed or breaks the schema, and MaxMessageLengthExceeded for one
/// that is too long.
/// </summary>
public static class RequestXml
{
    /// <summary>The longest body of a Delete or CompleteMultipartUpload, in bytes.</summary>
    public const int MaxBodyBytes = 8 * 1024 * 1024;

    /// <summary>The most keys of one Delete.</summary>
    public const int MaxDeleteKeys = 1000;

    /// <summary>The most parts of one upload, and the highest part number.</summary>
    public const int MaxParts = 10_000;

    /// <summary>The LocationConstraint of CreateBucket; null for an empty body or none.</summary>
    public static string? CreateBucketConfiguration(ReadOnlyMemory<byte> body)
    {
        if (body.IsEmpty) return null;
        string? location = null;
        Read(body, "CreateBucketConfiguration", reader =>
        {
            if (reader.LocalName == "LocationConstraint") location = Text(reader);
            else reader.Skip();
        });
        return string.IsNullOrEmpty(location) ? null : location;
    }

    /// <summary>The Status of PutBucketVersioning: "Enabled" or "Suspended".</summary>
    public static string VersioningConfiguration(ReadOnlyMemory<byte> body)
    {
        string? status = null;
        Read(body, "VersioningConfiguration", reader =>
        {
            if (reader.LocalName == "Status") status = Text(reader);
            else reader.Skip();
        });
        return status is "Enabled" or "Suspended" ? status : throw new S3Exception(S3ErrorCode.MalformedXML);
    }

    /// <summary>The objects of DeleteObjects. More than 1,000 keys, none, or an empty key is MalformedXML.</summary>
    public static DeleteRequest Delete(ReadOnlyMemory<byte> body)
    {
        List<DeleteEntry> entries = [];
        bool quiet = false;
        Read(body, "Delete", reader =>
        {
            if (reader.LocalName == "Quiet")
            {
                quiet = Text(reader).Trim().Equals("true", StringComparison.OrdinalIgnoreCase);
            }
            else if (reader.LocalName == "Object")
            {
                if (entries.Count == MaxDeleteKeys) throw new S3Exception(S3ErrorCode.MalformedXML);
                string? key = null;
                string? versionId = null;
                string? etag = null;
                Children(reader, child =>
                {
                    switch (child.LocalName)
                    {
                        case "Key": key = Text(child); break;
                        case "VersionId": versionId = Text(child); break;
                        case "ETag": etag = Text(child).Trim().Trim('"'); break;
                        default: child.Skip(); break;
                    }
                });
                if (string.IsNullOrEmpty(key)) throw new S3Exception(S3ErrorCode.MalformedXML);
                entries.Add(new DeleteEntry(key, string.IsNullOrEmpty(versionId) ? null : versionId, etag));
            }
            else
            {
                reader.Skip();
            }
        });
        return entries.Count > 0 ? new DeleteRequest(entries, quiet) : throw new S3Exception(S3ErrorCode.MalformedXML);
    }

    /// <summary>
    /// The parts of CompleteMultipartUpload in request order. None, more than 10,000, or one without number or ETag is MalformedXML. Order is checked
    /// too: InvalidPartOrder.
    /// </summary>
    public static IReadOnlyList<CompletedPart> CompleteMultipartUpload(ReadOnlyMemory<byte> body)
    {
        List<CompletedPart> parts = [];
        Read(body, "CompleteMultipartUpload", reader =>
        {
            if (reader.LocalName != "Part")
            {
                reader.Skip();
                return;
            }

            if (parts.Count == MaxParts) throw new S3Exception(S3ErrorCode.MalformedXML);
            int partNumber = 0;
            string? etag = null;
            List<KeyValuePair<ChecksumAlgorithm, string>>? checksums = null;
            Children(reader, child =>
            {
                if (child.LocalName == "PartNumber") partNumber = PartNumber(Text(child));
                else if (child.LocalName == "ETag") etag = Text(child).Trim().Trim('"');
                else if (ChecksumAlgorithms.TryFromXmlElement(child.LocalName, out ChecksumAlgorithm algorithm)) (checksums ??= []).Add(new(algorithm, Text(child).Trim()));
                else child.Skip();
            });
            if (partNumber == 0 || string.IsNullOrEmpty(etag)) throw new S3Exception(S3ErrorCode.MalformedXML);
            parts.Add(new CompletedPart(partNumber, etag, checksums ?? (IReadOnlyList<KeyValuePair<ChecksumAlgorithm, string>>)[]));
        });
        if (parts.Count == 0) throw new S3Exception(S3ErrorCode.MalformedXML);
        for (int i = 1; i < parts.Count; i++)
        {
            if (parts[i].PartNumber <= parts[i - 1].PartNumber) throw new S3Exception(S3ErrorCode.InvalidPartOrder);
        }

        return parts;
    }

    /// <summary>The tags of PutObjectTagging or PutBucketTagging. A repeated key is InvalidTag; counts and lengths are the operation's to judge.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Tagging(ReadOnlyMemory<byte> body)
    {
        List<KeyValuePair<string, string>> tags = [];
        bool hasTagSet = false;
        Read(body, "Tagging", reader =>
        {
            if (reader.LocalName != "TagSet")
            {
                reader.Skip();
                return;
            }

            hasTagSet = true;
            Children(reader, tag =>
            {
                string? key = null;
                string? value = null;
                Children(tag, child =>
                {
                    if (child.LocalName == "Key") key = Text(child);
                    else if (child.LocalName == "Value") value = Text(child);
                    else child.Skip();
                });
                if (key is null || value is null) throw new S3Exception(S3ErrorCode.MalformedXML);
                if (tags.Exists(other => other.Key == key)) throw new S3Exception(S3ErrorCode.InvalidTag, "Cannot provide multiple Tags with the same key");
                tags.Add(new KeyValuePair<string, string>(key, value));
            });
        });
        return hasTagSet ? tags : throw new S3Exception(S3ErrorCode.MalformedXML);
    }

    private static int PartNumber(string text) =>
        int.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= MaxParts
            ? number
            : throw new S3Exception(S3ErrorCode.MalformedXML);

    private static void Read(ReadOnlyMemory<byte> body, string root, Action<XmlReader> onElement)
    {
        if (body.Length > MaxBodyBytes) throw new S3Exception(S3ErrorCode.MaxMessageLengthExceeded);
        XmlReaderSettings settings = new()
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            IgnoreComments = true,
            IgnoreProcessingInstructions = true,
            IgnoreWhitespace = true,
            MaxCharactersInDocument = MaxBodyBytes,
            MaxCharactersFromEntities = 1024,

            // Keys may hold control characters, which S3 accepts as references.
            CheckCharacters = false,
        };
        try
        {
            using Stream stream = System.Runtime.InteropServices.MemoryMarshal.TryGetArray(body, out ArraySegment<byte> segment)
                ? new MemoryStream(segment.Array!, segment.Offset, segment.Count, writable: false)
                : new MemoryStream(body.ToArray(), writable: false);
            using XmlReader reader = XmlReader.Create(stream, settings);
            if (reader.MoveToContent() != XmlNodeType.Element || reader.LocalName != root) throw new S3Exception(S3ErrorCode.MalformedXML);
            Children(reader, onElement);
            while (reader.Read())
            {
                // To the end, so that anything malformed after the root is seen.
            }
        }
        catch (Exception exception) when (exception is XmlException or InvalidOperationException or ArgumentException)
        {
            throw new S3Exception(S3ErrorCode.MalformedXML, null, exception);
        }
    }

    /// <summary>Calls back at each child element; the callback must consume it. Leaves the reader behind the element.</summary>
    private static void Children(XmlReader reader, Action<XmlReader> onElement)
    {
        if (reader.IsEmptyElement)
        {
            reader.Read();
            return;
        }

        reader.Read();
        while (reader.NodeType != XmlNodeType.EndElement)
        {
            if (reader.NodeType == XmlNodeType.Element) onElement(reader);
            else if (reader.NodeType is XmlNodeType.Text or XmlNodeType.CDATA) throw new S3Exception(S3ErrorCode.MalformedXML);
            else if (!reader.Read()) throw new S3Exception(S3ErrorCode.MalformedXML);
        }

        reader.Read();
    }

    private static string Text(XmlReader reader) => reader.ReadElementContentAsString();
}
