"""Sentences as reviews have them, in the languages whose old encodings are read: language -> encodings, sentences."""

from __future__ import annotations

NATURAL: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "thai": (
        ("cp874",),
        (
            "หนังสือเล่มนี้สนุกมาก อ่านแล้ววางไม่ลง ตัวละครน่าสนใจและเนื้อเรื่องดี แต่ตอนจบสั้นไปหน่อย",
            "อาหารอร่อย บริการดี ราคาไม่แพง ห้องพักสะอาด พนักงานพูดจาสุภาพ จะกลับมาอีกแน่นอน",
        ),
    ),
    "greek": (
        (
            "cp1253",
            "iso8859_7",
        ),
        (
            "Η ταινία ήταν πολύ καλή και οι ηθοποιοί εξαιρετικοί.",
            "Δεν θα το συνιστούσα σε κανέναν, το φαγητό ήταν κρύο και η εξυπηρέτηση αργή.",
            "Όμορφο ξενοδοχείο κοντά στη θάλασσα",
        ),
    ),
    "hebrew": (
        (
            "cp1255",
            "iso8859_8",
        ),
        (
            "הסרט היה טוב מאוד והשחקנים מצוינים.",
            "לא הייתי ממליץ לאף אחד, האוכל היה קר והשירות איטי.",
            "מלון יפה קרוב לים",
        ),
    ),
    "arabic": (
        ("cp1256",),
        (
            "كان الفيلم جيدا جدا والممثلون رائعون.",
            "لا أنصح به أحدا، الطعام كان باردا والخدمة بطيئة.",
            "فندق جميل قريب من البحر",
        ),
    ),
    "persian": (
        ("cp1256",),
        (
            "فيلم بسيار خوب بود و بازيگران عالي بودند.",
            "غذا سرد بود و خدمات کند.",
            "هتل زيبايي نزديک دريا بود",
        ),
    ),
    "turkish": (
        (
            "cp1254",
            "iso8859_9",
        ),
        (
            "Film çok güzeldi, oyuncular harikaydı.",
            "Kimseye tavsiye etmem, yemek soğuktu ve servis yavaştı.",
            "Denize yakın güzel bir otel, çalışanlar güler yüzlü ve ilgiliydi, ışıklar şıktı",
        ),
    ),
    "polish": (
        (
            "cp1250",
            "iso8859_2",
        ),
        (
            "Film był bardzo dobry, a aktorzy świetni.",
            "Nikomu bym nie polecił, jedzenie było zimne, a obsługa powolna.",
            "Piękny hotel blisko morza, dzięki za wspaniałą gościnę",
        ),
    ),
    "czech": (
        (
            "cp1250",
            "iso8859_2",
        ),
        (
            "Film byl velmi dobrý a herci výborní.",
            "Nikomu bych to nedoporučil, jídlo bylo studené a obsluha pomalá.",
            "Krásný hotel blízko moře, příště přijedeme zase, děkujeme",
        ),
    ),
    "hungarian": (
        (
            "cp1250",
            "iso8859_2",
        ),
        (
            "A film nagyon jó volt, a színészek kitűnőek.",
            "Senkinek sem ajánlanám, az étel hideg volt, a kiszolgálás lassú.",
            "Szép szálloda közel a tengerhez, jövőre újra eljövünk",
        ),
    ),
    "romanian": (
        ("cp1250",),
        (
            "Filmul a fost foarte bun şi actorii excelenţi.",
            "Nu l-aş recomanda nimănui, mâncarea era rece şi serviciul lent.",
            "Un hotel frumos, aproape de mare, vom reveni în vară, mulţumim",
        ),
    ),
    "croatian": (
        (
            "cp1250",
            "iso8859_2",
        ),
        (
            "Film je bio vrlo dobar, a glumci odlični.",
            "Nikome ga ne bih preporučio, hrana je bila hladna, a usluga spora.",
            "Lijep hotel blizu mora, još ćemo doći, više puta, također želim pohvaliti sobe, čisto i šarmantno",
        ),
    ),
    "french": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "Le film était très bien et les acteurs géniaux.",
            "Je ne le conseille à personne, la nourriture était froide et le service lent.",
            "Bel hôtel près de la mer, nous reviendrons l'été prochain, ça nous a plu",
        ),
    ),
    "german": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "Der Film war sehr schön und die Schauspieler großartig.",
            "Ich würde ihn niemandem empfehlen, das Essen war kalt und übersalzen.",
            "Schönes Hotel in der Nähe des Meeres, wir kommen nächstes Jahr für länger zurück",
        ),
    ),
    "spanish": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "La película fue muy buena y los actores geniales.",
            "No se la recomendaría a nadie, la comida estaba fría y el servicio también.",
            "¿Un hotel bonito?",
            "Sí, cerca del mar, volveremos el próximo año, mañana quizás",
        ),
    ),
    "portuguese": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "O filme é muito bom e os atores são ótimos.",
            "Não recomendaria a ninguém, a refeição estava fria e o serviço não é rápido.",
            "Belo hotel à beira-mar, voltaremos no verão, até à próxima estação",
        ),
    ),
    "italian": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "Il film è bellissimo e la città è piena di attori.",
            "Non lo consiglierei perché il cibo è freddo e la qualità del servizio è così così.",
            "Però l'hotel è bello, più vicino al mare, tornerò già a metà estate, chissà",
        ),
    ),
    "swedish": (
        (
            "cp1252",
            "mac_roman",
        ),
        (
            "Filmen var mycket bra och skådespelarna utmärkta.",
            "Jag skulle inte rekommendera den, maten var kall och servicen långsam.",
            "Ett vackert hotell nära havet, vi kommer tillbaka nästa år för att äta där",
        ),
    ),
    "danish": (
        ("cp1252",),
        (
            "Filmen var rigtig god, og skuespillerne var på højde med det bedste.",
            "Maden var kold, og det tog længe at få øl.",
            "Smukt hotel nær stranden, vi kører derned næste år, også på grund af køkkenet",
        ),
    ),
    "icelandic": (
        ("cp1252",),
        (
            "Myndin var mjög góð og leikararnir frábærir.",
            "Ég mæli ekki með þessu við neinn, maturinn var kaldur og þjónustan hæg.",
            "Fallegt hótel nálægt sjónum, við komum aftur á næsta ári",
        ),
    ),
    "finnish": (
        ("cp1252",),
        (
            "Elokuva oli erittäin hyvä ja näyttelijät mainioita.",
            "En suosittelisi sitä kenellekään, ruoka oli kylmää ja palvelu hidasta.",
            "Kaunis hotelli lähellä merta, tulemme ensi kesänä takaisin, pidämme siitä",
        ),
    ),
    "russian": (
        (
            "cp1251",
            "koi8_r",
        ),
        (
            "Фильм был очень хороший, актёры отличные.",
            "Никому бы не посоветовал, еда была холодной, а обслуживание медленным.",
            "Красивый отель рядом с морем",
        ),
    ),
    "ukrainian": (
        ("cp1251",),
        (
            "Фільм був дуже добрий, актори чудові.",
            "Нікому б не порадив, їжа була холодною, а обслуговування повільним.",
            "Гарний готель біля моря",
        ),
    ),
    "traditional Chinese": (
        ("cp950",),
        (
            "這家店的服務態度很好，餐點也很好吃，下次還會再來。",
            "環境很髒，老闆態度不好，不推薦大家去。",
            "電影很好看，演員演得很自然，我們都很喜歡",
        ),
    ),
    "simplified Chinese": (
        ("gb18030",),
        (
            "这家店的服务态度很好，菜也很好吃，下次还会再来。",
            "环境很脏，老板态度不好，不推荐大家去。",
            "电影很好看，演员演得很自然，我们都很喜欢",
        ),
    ),
    "Japanese": (
        (
            "cp932",
            "euc_jp",
        ),
        (
            "この店のサービスはとても良く、料理も美味しかったです。",
            "部屋が汚くて、二度と行きません。",
            "映画はとても面白かったので、皆さんにおすすめします",
        ),
    ),
    "Korean": (
        ("cp949",),
        (
            "이 가게는 서비스가 아주 좋고 음식도 맛있어요.",
            "방이 더럽고 직원이 불친절해서 다시는 가지 않겠습니다.",
            "영화가 정말 재미있었어요",
        ),
    ),
}
