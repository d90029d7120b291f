namespace ObjectStore.KillTest;

/// <summary>What a key may hold: nothing, or the content of one generation. The bytes follow from seed, key and generation.</summary>
/// <param name="Generation">0 when there is no object.</param>
/// <param name="SizeBytes">The length of the object.</param>
public readonly record struct KeyState(long Generation, long SizeBytes)
{
    /// <summary>No object.</summary>
    public static readonly KeyState Absent = new(0, 0);

    /// <summary>True when there is an object.</summary>
    public bool Exists => Generation > 0;

    /// <inheritdoc/>
    public override string ToString() => Exists ? $"generation {Generation} of {SizeBytes} bytes" : "absent";
}

/// <summary>A part that was sent; <see cref="ETag"/> is null while the server has not acknowledged it.</summary>
public sealed record SentPart(int Number, long Offset, long SizeBytes, string? ETag);

/// <summary>A multipart upload that was created and is not known to be completed or aborted.</summary>
public sealed class OpenUpload
{
    public required string UploadId { get; init; }
    public required KeyState Target { get; init; }
    public List<SentPart> Parts { get; } = [];
    public bool CompleteSent { get; set; }
    public bool AbortSent { get; set; }
}

/// <summary>
/// What the test knows of one key. Only one worker touches it during load, and only the verifier afterwards; the two are separated by joining the threads.
/// </summary>
public sealed class KeyModel(int index)
{
    /// <summary>The key. Some need escaping, in the URL and in XML.</summary>
    public string Key { get; } = (index % 8) switch
    {
        3 => $"kill/{index:d5} a+b%c",
        5 => $"kill/{index:d5}/größe & <mehr>",
        _ => $"kill/{index:d5}",
    };

    public int Index { get; } = index;

    /// <summary>The last generation that was handed out.</summary>
    public long LastGeneration { get; set; }

    /// <summary>What the last acknowledged operation left.</summary>
    public KeyState Acknowledged { get; set; } = KeyState.Absent;

    /// <summary>What an operation without an answer would leave, or null when all were answered.</summary>
    public KeyState? Pending { get; set; }

    /// <summary>The multipart upload that is open, or null.</summary>
    public OpenUpload? Upload { get; set; }
}
