using System.Globalization;
using System.Net.Sockets;
using System.Text;
using ObjectStore.LoadGenerator.Content;
using ObjectStore.LoadGenerator.Http;
using ObjectStore.LoadGenerator.Workloads;

namespace ObjectStore.KillTest;

/// <summary>
/// One client under load. It owns its keys, has one request in flight, and writes into the model before each request what it would change and after each
/// acknowledgement that it did. Ends when the server goes away.
/// </summary>
public sealed class Worker(KillTestOptions options, S3Endpoint endpoint, SigningIdentity identity, string bucket, KeyModel[] keys, Random random)
{
    /// <summary>Of each part of an upload but the last.</summary>
    public const long PartBytes = 5 << 20;

    private const long MaxObjectBytes = 8 << 20;

    /// <summary>Requests that were acknowledged.</summary>
    public int Acknowledged { get; private set; }

    /// <summary>Refusals and broken answers that a server under load must not give, up to the first.</summary>
    public string? Unexpected { get; private set; }

    /// <summary>The stream of bytes of one generation of one key.</summary>
    public static ulong Stream(ulong seed, int keyIndex, long generation) =>
        RandomContent.Mix(RandomContent.Mix(seed) + RandomContent.Mix((ulong)keyIndex + 1) + (ulong)generation);

    /// <summary>Works until the server goes away or answers what it should not.</summary>
    /// <param name="isStopped">Whether to send nothing more.</param>
    /// <param name="mayBreak">Whether the server is being killed, so that connections may break.</param>
    public void Run(Func<bool> isStopped, Func<bool> mayBreak)
    {
        using S3Client client = new(endpoint, identity, bucket) { Patience = options.SlowDownPatience };
        try
        {
            while (Unexpected is null && !isStopped())
            {
                KeyModel key = keys[random.Next(keys.Length)];
                int dice = random.Next(100);
                if (key.Upload is not null) ContinueUpload(client, key);
                else if (dice < 15 && key.Acknowledged.Exists) Delete(client, key);
                else if (dice < 40) CreateUpload(client, key);
                else Put(client, key);
            }
        }
        catch (Exception exception) when (exception is SocketException or IOException)
        {
            // The kill. What was in flight stays pending in the model.
            if (!mayBreak()) Unexpected ??= $"the connection broke before the kill: {exception.Message}";
        }
    }

    private void Put(S3Client client, KeyModel key)
    {
        KeyState next = new(++key.LastGeneration, RandomSize());
        key.Pending = next;
        Answer answer = client.PutContent(key.Key, "", Stream(options.Seed, key.Index, next.Generation), 0, next.SizeBytes);
        if (Accept(answer, 200, "PUT", key)) Settle(key, next);
    }

    private void Delete(S3Client client, KeyModel key)
    {
        key.Pending = KeyState.Absent;
        if (Accept(client.Send("DELETE", key.Key, ""), 204, "DELETE", key)) Settle(key, KeyState.Absent);
    }

    private void CreateUpload(S3Client client, KeyModel key)
    {
        // An upload whose creation got no answer is one that this test cannot name; it changes no object.
        Answer answer = client.Send("POST", key.Key, "uploads=", []);
        if (!Accept(answer, 200, "create upload of", key)) return;
        string? uploadId = Xml.Element(answer.Body, "UploadId");
        if (uploadId is null)
        {
            Unexpected = "create upload answered 200 without UploadId";
            return;
        }

        long size = random.Next(4) == 0 ? random.NextInt64(1, PartBytes) : random.NextInt64(PartBytes, MaxObjectBytes + 1);
        key.Upload = new OpenUpload { UploadId = uploadId, Target = new KeyState(++key.LastGeneration, size) };
    }

    private void ContinueUpload(S3Client client, KeyModel key)
    {
        OpenUpload upload = key.Upload!;
        string id = Uri.EscapeDataString(upload.UploadId);
        ulong stream = Stream(options.Seed, key.Index, upload.Target.Generation);
        long sent = upload.Parts.Sum(part => part.SizeBytes);
        if (sent < upload.Target.SizeBytes)
        {
            int number = upload.Parts.Count + 1;
            SentPart part = new(number, sent, Math.Min(PartBytes, upload.Target.SizeBytes - sent), null);
            upload.Parts.Add(part);
            Answer answer = client.PutContent(key.Key, $"partNumber={number}&uploadId={id}", stream, part.Offset, part.SizeBytes);
            if (Accept(answer, 200, "upload part of", key)) upload.Parts[^1] = part with { ETag = answer.ETag };
        }
        else if (random.Next(10) == 0)
        {
            upload.AbortSent = true;
            if (Accept(client.Send("DELETE", key.Key, $"uploadId={id}"), 204, "abort upload of", key)) key.Upload = null;
        }
        else
        {
            upload.CompleteSent = true;
            key.Pending = upload.Target;
            Answer answer = client.Send("POST", key.Key, $"uploadId={id}", CompleteBody(upload.Parts.Select(part => (part.Number, part.ETag!))));
            if (answer.Code is not null && answer.Status == 200) Unexpected = $"complete upload of {key.Key}: 200 {answer.Code}";
            else if (Accept(answer, 200, "complete upload of", key))
            {
                key.Upload = null;
                Settle(key, upload.Target);
            }
        }
    }

    /// <summary>The document of CompleteMultipartUpload.</summary>
    public static byte[] CompleteBody(IEnumerable<(int Number, string ETag)> parts)
    {
        StringBuilder body = new("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        foreach ((int number, string etag) in parts)
        {
            body.Append(CultureInfo.InvariantCulture, $"<Part><PartNumber>{number}</PartNumber><ETag>{etag.Replace("\"", "&quot;", StringComparison.Ordinal)}</ETag></Part>");
        }

        return Encoding.UTF8.GetBytes(body.Append("</CompleteMultipartUpload>").ToString());
    }

    private static void Settle(KeyModel key, KeyState state)
    {
        key.Acknowledged = state;
        key.Pending = null;
    }

    private bool Accept(in Answer answer, int expectedStatus, string what, KeyModel key)
    {
        if (answer.Status == expectedStatus)
        {
            Acknowledged++;
            return true;
        }

        Unexpected ??= $"{what} {key.Key}: {answer.Status} {answer.Code}";
        return false;
    }

    /// <summary>0 B to 8 MiB; most are small, and sizes beside powers of two come often because that is where formats change.</summary>
    private long RandomSize() => random.Next(10) switch
    {
        0 => 0,
        1 => random.Next(1, 64),
        2 or 3 => random.Next(1, 4096 + 1),
        4 or 5 => random.Next(4096, 128 * 1024),
        6 => (1L << random.Next(9, 23)) + random.Next(-1, 2),
        7 or 8 => random.Next(128 * 1024, 1 << 20),
        _ => random.NextInt64(1 << 20, MaxObjectBytes + 1),
    };
}
